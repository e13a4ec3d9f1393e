"""Records as text: the form is that of `json`, made by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmos.system.audit import form as form_module
from wasmos.system.audit.form import Form
from wasmos.system.audit.schema import EVENTS, KEYS

words = st.text(min_size=1, max_size=20)
simple = st.integers() | words
records = st.fixed_dictionaries(
    {"event": st.sampled_from(sorted(EVENTS))},
    optional={
        "task": st.integers(), "name": words, "service": words, "message": words,
        "fields": st.dictionaries(words, simple, min_size=1, max_size=4), "decision": words,
        "cause": words, "grant": st.integers(), "rule": words, "reason": words,
        "count": st.integers(),
    },
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(records, st.randoms()), max_size=5))
def test_it_is_what_json_would_make(made: list[tuple[dict[str, Any], Any]]) -> None:
    """Whatever the order of the keys, and from what was kept as well as when it is new."""
    form = Form()
    for record, random in made:
        keys = list(record)
        random.shuffle(keys)
        for _ in range(2):
            text = form.text({key: record[key] for key in keys})
            expected = {key: record[key] for key in KEYS if key in record}
            assert list(json.loads(f"{{{text}}}").items()) == list(expected.items())
            plain = json.dumps(expected, separators=(",", ":"))[1:-1]
            assert text == plain


def test_what_is_kept_is_not_mixed_up() -> None:
    """The same values under other keys."""
    form = Form()
    assert form.text({"event": "call", "name": "x"}) == '"event":"call","name":"x"'
    assert form.text({"event": "call", "service": "x"}) == '"event":"call","service":"x"'
    assert form.text({"event": "call", "rule": "x"}) == '"event":"call","rule":"x"'
    assert form.text({"event": "call", "origin": "x"}) == '"event":"call","origin":"x"'


def test_what_is_empty_is_left_out() -> None:
    form = Form()
    for _ in range(2):
        assert form.text({"event": "call", "name": "", "origin": ""}) == '"event":"call"'
        text = form.text({"event": "call", "grant": 0, "rule": "", "reason": "x"})
        assert text == '"event":"call","grant":0,"reason":"x"'


def test_no_fields_are_no_key() -> None:
    assert Form().text({"event": "call", "fields": {}, "grant": 1}) == '"event":"call","grant":1'


def test_secrets_of_the_system_are_not_in_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_module, "secret_names", lambda: frozenset({"token"}))
    text = Form().text({"event": "denial", "rule": 'kv.put(token="a", key="b")'})
    assert text == '"event":"denial","rule":"kv.put(token=***, key=\\"b\\")"'
