"""Judgement as data: one TOML file per rule, its path is its id; scanner/rulebook.py reads them."""
