"""`scan confirm` on a LoRA adapter that was really trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tuned_models import saved, trained

from scanner import models, pipeline
from scanner.errors import ModelError
from scanner.settings import TrainingPlan


def test_an_adapter_knows_its_base(tmp_path):
    plan = TrainingPlan(epochs=2, learning_rate=1e-2, batch_size=6, method="lora", lora_rank=4)
    made = trained(tmp_path, plan=plan)
    found = pipeline.confirm(made.run.path, {"model": made.model, "all_rows": True})
    assert found.facts["adapter"]
    assert found.facts["base"]["name"] == "base"
    whole_model = models.load_adapted(made.model, made.base)
    merged = saved(replace(whole_model, model=whole_model.model.merge_and_unload()), tmp_path / "merged")
    beside = pipeline.confirm(made.run.path, {"model": merged, "base": made.base, "all_rows": True})
    one, two = (pl.read_parquet(told.path, glob=False) for told in (found, beside))
    assert one["n_pre"].to_list() == two["n_pre"].to_list()
    for name in ("loss_nats", "bits_over_base", "min_k_plus"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-3)
    full = pipeline.judge(made.run.path, {"method": "full"})
    with pytest.raises(ModelError, match=r"a LoRA adapter of rank 4, and the run was predicted for full fine-tuning; "
                       r".*scan plan RUN --method lora --lora-rank 4"):  # fmt: skip
        pipeline.confirm(full.path, {"model": made.model, "name": "other"})
