"""How records fall into segments, layout by layout, and how a layout is found."""

import pytest

from scanner import jsonediting, layouts
from scanner.errors import LayoutError, SettingsError
from scanner.settings import Settings


def brief(name, record, **settings):
    """(path, role, turn, supervised) of each segment."""
    segments = layouts.load(name).segments(record, Settings(**settings))
    assert all(jsonediting.get_at(record, s.path) == s.text for s in segments)
    return [("/".join(map(str, s.path)), s.role, s.turn, s.supervised) for s in segments]


def test_alpaca_with_history_and_system():
    record = {"system": "s", "history": [["q", "a"], ["q", None]], "instruction": "i", "input": "x", "output": "o"}
    assert brief("alpaca", record) == [
        ("system", "system", 0, False),
        ("history/0/0", "user", 1, False),
        ("history/0/1", "assistant", 2, True),
        ("history/1/0", "user", 3, False),
        ("instruction", "user", 4, False),
        ("input", "user", 4, False),
        ("output", "assistant", 5, True),
    ]


def test_alpaca_with_an_empty_text_as_history():
    record = {"instruction": "i", "history": "", "output": "o"}
    assert brief("alpaca", record) == [
        ("history", "user", 0, False),
        ("instruction", "user", 0, False),
        ("output", "assistant", 1, True),
    ]


@pytest.mark.parametrize("other", ["o", "another", 7])
def test_alpaca_with_two_answers_reads_one(other):
    record = {"instruction": "i", "response": other, "output": "o"}
    assert brief("alpaca", record)[1:] == [("output", "assistant", 1, True)]
    record["output"] = None
    if isinstance(other, str):
        assert brief("alpaca", record)[1:] == [("response", "assistant", 1, True)]


@pytest.mark.parametrize("missing", [{}, {"output": None}])
def test_a_missing_answer_leaves_the_prompt(missing):
    assert brief("alpaca", {"instruction": "i", **missing}) == [("instruction", "user", 0, False)]


@pytest.mark.parametrize(
    ("name", "record", "reason"),
    [
        ("alpaca", {"instruction": "i", "output": 3}, "output is an integer, expected text"),
        ("alpaca", {"instruction": None, "output": "x"}, "instruction is missing or null"),
        ("alpaca", {"instruction": "i", "history": [["q"]]}, "history\\[0\\] is a list, expected a pair"),
        ("pair", {"prompt": "p", "response": {"a": 1}}, "response is an object, expected text"),
        ("messages", {"messages": [{"role": "wizard", "content": "x"}]}, r"messages\[0\] names a speaker of 6 char"),
        ("messages", {"messages": [{"role": "user", "content": 5}]}, r"content is an integer, expected text or a list"),
        ("messages", [1], "the record is a list, expected an object"),
        ("preference", {"prompt": "p", "chosen": 1, "rejected": "r"}, "chosen is an integer, expected text, a turn"),
        ("text", {"text": 1.5}, "text is a number, expected text"),
        ("text", {"other": "x"}, "no text field was found"),
    ],
)
def test_what_does_not_fit_is_refused_with_types(name, record, reason):
    with pytest.raises(LayoutError, match=reason):
        layouts.load(name).segments(record, Settings())


def test_messages_with_parts_reasoning_and_tool_calls():
    record = {
        "messages": [
            {"role": "system", "content": [{"type": "text", "value": "s"}]},
            {
                "role": "user",
                "content": ["plain", {"type": "text", "text": "u"}, {"type": "image_url", "image_url": {"url": "x"}}],
            },
            {
                "role": "assistant",
                "reasoning_content": "r",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                    {"id": "2", "type": "function", "function": {"name": "g", "arguments": {"deep": ["x"], "n": 1}}},
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "t"},
            {"role": "assistant", "content": [{"type": "reasoning", "value": "r"}, {"type": "text", "value": "a"}]},
            {"role": "assistant", "content": "not learned", "loss_weight": 0.0},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}],
    }
    found = brief("messages", record)
    assert found[:4] == [
        ("tools/0/type", "tools", 0, False),
        ("tools/0/function/name", "tools", 0, False),
        ("tools/0/function/description", "tools", 0, False),
        ("messages/0/content/0/value", "system", 0, False),
    ]
    assert found[4:6] == [("messages/1/content/0", "user", 1, False), ("messages/1/content/1/text", "user", 1, False)]
    assert [path for path, role, turn, learned in found if learned] == [
        "messages/2/reasoning_content",
        "messages/2/tool_calls/0/function/name",
        "messages/2/tool_calls/0/function/arguments",
        "messages/2/tool_calls/1/function/name",
        "messages/2/tool_calls/1/function/arguments/deep/0",
        "messages/4/content/0/value",
        "messages/4/content/1/value",
    ]
    assert found[-1] == ("messages/5/content", "assistant", 5, False)
    assert ("messages/3/content", "tool", 3, False) in found


def test_sharegpt_roles():
    turns = [("human", "user"), ("gpt", "assistant"), ("function_call", "assistant"), ("observation", "tool")]
    record = {"system": "s", "tools": "[]", "conversations": [{"from": said, "value": "x"} for said, _ in turns]}
    assert brief("sharegpt", record) == [
        ("system", "system", 0, False),
        ("tools", "tools", 0, False),
        *((f"conversations/{i}/value", role, i + 1, role == "assistant") for i, (_, role) in enumerate(turns)),
    ]


def test_preference_with_whole_dialogues():
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert brief("preference", {"chosen_messages": turns, "rejected_messages": turns}) == [
        ("chosen_messages/0/content", "user", 0, False),
        ("chosen_messages/1/content", "assistant", 1, True),
        ("rejected_messages/0/content", "rejected", 0, False),
        ("rejected_messages/1/content", "rejected", 1, False),
    ]


def test_preference_with_ranked_outputs():
    assert brief("preference", {"instruction": "i", "input": "", "output": ["best", "worse", "worst"]})[2:] == [
        ("output/0", "assistant", 1, True),
        ("output/1", "rejected", 1, False),
        ("output/2", "rejected", 1, False),
    ]


@pytest.mark.parametrize("label", [True, False])
def test_kto_labels(label):
    role = "assistant" if label else "rejected"
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert brief("preference", {"messages": turns, "label": label}) == [
        ("messages/0/content", "user", 0, False),
        ("messages/1/content", role, 1, label),
    ]
    assert brief("preference", {"prompt": "p", "completion": "c", "label": label})[1] == ("completion", role, 1, label)


def test_pairs_with_named_fields():
    record = {"meta": {"q": "question"}, "prompt": "other", "answer_en": "a", "context": "c"}
    assert brief("pair", record, prompt_field="meta.q", response_field="answer_en") == [
        ("meta/q", "user", 0, False),
        ("context", "user", 0, False),
        ("answer_en", "assistant", 1, True),
    ]
    with pytest.raises(
        LayoutError, match=r"--response-field names is not in the record; .*; the fields there are meta, pr"
    ):
        layouts.load("pair").segments(record, Settings(response_field="nothing"))


def test_a_named_field_may_stand_in_a_list():
    """As Label Studio exports it."""
    record = {"data": {"q": "Why?"}, "annotations": [{"result": [{"value": {"text": ["So."]}}]}], "7": {"x": "y"}}
    place = "annotations.0.result.0.value.text"
    named = {"prompt_field": "data.q", "response_field": f"{place}.0"}
    said = layouts.load("pair").segments(record, Settings(**named))
    assert [(s.path, s.text) for s in said] == [
        (("data", "q"), "Why?"),
        (("annotations", 0, "result", 0, "value", "text", 0), "So."),
    ]
    assert layouts.load("pair").segments(record, Settings(response_field="7.x"))[-1].text == "y"
    for field, seen in [
        (f"{place}.1", "there is a list of 1, whose entries are named by their numbers, from 0"),
        ("annotations.text", "there is a list of 1, whose"),
        ("data.q.0", "there is text"),
        ("data.0", "the fields there are q"),
    ]:
        with pytest.raises(LayoutError, match=f"is not in the record; expected it in every record; {seen}"):
            layouts.load("pair").segments(record, Settings(response_field=field))


@pytest.mark.parametrize(("named", "answer"), [({"response_field": "said"}, "said"), ({}, "answer")])
def test_an_instruction_beside_an_input_is_asked_too(named, answer):
    record = {"instruction": "Name three rivers", "input": "in Europe", answer: "Rhine, Elbe, Po"}
    assert brief("pair", record, **named) == [
        ("instruction", "user", 0, False),
        ("input", "user", 0, False),
        (answer, "assistant", 1, True),
    ]


def test_verl_prompts():
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert brief("pair", {"prompt": prompt, "reward_func_args": {"ground_truth": "18"}}) == [
        ("prompt/0/content", "system", 0, False),
        ("prompt/1/content", "user", 1, False),
        ("reward_func_args/ground_truth", "assistant", 2, True),
    ]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"instruction": "i", "input": "", "output": "o", "history": []}, "alpaca"),
        ({"instruction": "i", "context": "", "response": "r", "category": "c"}, "alpaca"),
        ({"prompt": "p", "response": "r"}, "pair"),
        ({"text": "t", "code": "c", "task_id": 1}, "pair"),
        ({"text": "t", "language": "en"}, "text"),
        ("just text", "text"),
        ({"conversations": [{"role": "user", "content": "c"}]}, "messages"),
        ({"messages": [{"from": "human", "value": "c"}]}, "sharegpt"),
        ({"conversations": [{"from": "human", "value": "c"}], "chosen": "a", "rejected": "b"}, "preference"),
        ({"messages": [{"role": "user", "content": "c"}], "label": True}, "preference"),
        ({"question": "q", "choices": ["a", "b"], "answer": 1}, "benchmark"),
        ({"name": "x", "city": "y"}, "table"),
    ],
)
def test_finding_the_layout(record, name):
    assert layouts.detect([record] * 3, Settings()) == name


def test_most_records_decide():
    sample = [{"instruction": "i", "output": "o"}] * 8 + [{"other": 1}] * 2
    found = layouts.find(sample, Settings())
    assert (found.name, found.share) == ("alpaca", 0.8)


def test_the_user_decides_first():
    sample = [{"instruction": "i", "output": "o"}]
    assert layouts.detect(sample, Settings(layout="text")) == "text"
    assert layouts.detect(sample, Settings(response_field="output")) == "pair"
    with pytest.raises(SettingsError, match="Did you mean 'alpaca'"):
        layouts.detect(sample, Settings(layout="alpacca"))


def test_no_layout_fits():
    sample = [{"foo": 1, "a very long key that may well be private text": 2}, 12]
    seen = r"2 records seen \(1 x an object, 1 x an integer\), keys foo;.*--prompt-field"
    with pytest.raises(LayoutError, match=seen) as caught:
        layouts.detect(sample, Settings())
    assert "private" not in str(caught.value)


def test_what_no_trainer_reads():
    record = {"full_text": "Ann called", "spans": [{"entity_value": "Ann", "start": 0}], "template_id": 3}
    segments = layouts.load("text").segments(record, Settings())
    assert layouts.unread(record, segments) == [(("spans", 0, "entity_value"), "Ann")]


def test_identity_leaves_out_what_only_numbers():
    a = {"id": 1, "text": "x", "meta": {"id": 3}}
    assert layouts.canonical_fields(a) == {"text": "x", "meta": {"id": 3}}
    assert layouts.canonical_fields({"id": 1}) == {"id": 1}
    assert layouts.canonical_fields("x") == "x"
    assert layouts.canonical_fields({"idx": 0, "prompt": "p"}, "pair") == {"prompt": "p"}


def test_keys_that_may_be_data_are_not_shown():
    keys = ["Name", "zip-code", "jane.roe@roe-clinic.net", "DE89370400440532013000", "姓名", "x" * 41]
    with pytest.raises(LayoutError) as caught:
        layouts.detect([dict.fromkeys(keys, 1)], Settings())
    assert "keys Name, zip-code, 姓名; expected" in str(caught.value)


@pytest.mark.parametrize(
    ("record", "asked", "answered"),
    [
        ({"question": "Sum?", "answer": ["3", "three"]}, ["Sum?"], ["3"]),
        ({"question": "Sum?", "answer": {"aliases": ["three"], "value": "3"}, "question_id": "q"}, ["Sum?"], ["3"]),
        ({"passage": "P.", "question": "Sum?", "answers_spans": {"spans": ["3"], "types": ["number"]}},
         ["P.", "Sum?"], ["3"]),
        ({"question": "Sum?", "distractor1": "4", "correct_answer": "3", "support": ""}, ["", "Sum?"], ["3"]),
        ({"Question": "Sum?", "Correct Answer": "3", "Incorrect Answer 1": "4", "Subdomain": "x"}, ["Sum?"], ["3"]),
        ({"Question": "Sum?", "Best Answer": "3", "Correct Answers": "3; III"}, ["Sum?"], ["3"]),
        ({"Question": "Sum?", "A": "3", "B": "4", "Answer": "A"}, ["Sum?", "3", "4"], ["A"]),
        ({"ID": "1", "Problem": "Sum?", "Answer": 3}, ["Sum?"], []),
        ({"Body": "Ann has 1.", "Question": "Sum?", "Answer": "3", "Type": "x"}, ["Ann has 1.", "Sum?"], ["3"]),
        ({"question": "Sum?", "opa": "4", "opb": "3", "cop": 1, "exp": None}, ["Sum?", "4"], ["3"]),
        ({"question": "Sum?", "options": {"A": "four", "B": "three"}, "answer": "three", "answer_idx": "B"},
         ["Sum?", "four"], ["three"]),
        ({"premise": "It rains.", "choice1": "Sun.", "choice2": "Wet.", "question": "effect", "label": 1},
         ["It rains.", "Sun."], ["Wet."]),
        ({"key": 1, "prompt": "Write.", "instruction_id_list": ["a:b"], "kwargs": [{}]}, ["Write."], []),
        ({"turns": [{"content": "Write."}], "question_id": "q", "cluster": "c"}, ["Write."], []),
        ({"question": "Sum?", "id": "7"}, ["Sum?"], []),
    ],
)  # fmt: skip
def test_benchmarks_are_read_as_they_are_published(record, asked, answered):
    assert layouts.find([record], Settings()).name == "benchmark"
    found = layouts.load("benchmark").segments(record, Settings())
    assert [s.text for s in found if s.role == "user"] == asked
    assert [s.text for s in found if s.role == "assistant"] == answered
    module = layouts.load("benchmark")
    pointers = ["/" + "/".join(map(str, s.path)) for s in found]
    assert {module.item_of(pointer) for pointer in pointers} == {""}  # all of one item
