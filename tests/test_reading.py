"""What is read is data, whole and bounded; all else is refused in one line that names the file."""

import json
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_runs import write_run

from cl_runner.config.plain_settings import checked_settings, dotted
from cl_runner.errors import ConfigError, DamagedError
from cl_runner.plain_text import cell, in_a_shell, printable, slug
from cl_runner.results.reading import parse_json, parse_yaml, read_bytes, read_tail
from cl_runner.results.tables import Column, parse_table

FILE = Path("here/file")
# Each line has ten of the line before: of 30 lines 10^29 words.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (BOMB, "it has an alias"),
        ("a: &a [*a]", "it has an alias"),
        ("a: &a {b: *a}", "it has an alias"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "a key that is no word"),
        ("a: &a {x: 1}\nb: *a\n", "it has an alias"),
        ("[" * 20 + "]" * 20 + "\n...\n---\n1", "but found another document"),
        ("a: " + "[" * 100 + "]" * 100, "it nests more than 32 levels deep"),
        ("a: " + "[" * 100_000, "depth"),
        ("a: 1\nb: 2\na: 3\n", "a key is there twice"),
        ("1: a", "a key that is no word"),
        ("? [a]\n: b\n", "a key that is no word"),
        ("a: 2020-01-02", "a value of type timestamp"),
        ("a: !!binary aGVsbG8=", "a value of type binary"),
        ("a: !!set {x}", "a value of type set"),
        ("a: !!python/object/apply:os.system ['false']", "a value of type"),
        (f"a: {'9' * 5000}", "a number is too large"),
        (f"a: {':'.join(['1'] * 5000)}", "a number is too large"),
        ("a: !!int word", "not valid YAML"),
        ("a: [", "did not find expected node content in line 2"),
        ("a: \x01", "not valid YAML"),
        (b"a: \xff", "not valid YAML"),
    ],
)
def test_yaml_that_is_refused(content: str | bytes, problem: str) -> None:
    with pytest.raises(DamagedError, match="here/file: not valid YAML: ") as caught:
        parse_yaml(FILE, content if isinstance(content, bytes) else content.encode())
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_that_is_read() -> None:
    settings = {"a": {"b": [1, 2.5, None, True, "x", "2020-01-02", "&a"]}, "c": "${oc.env:HOME}"}
    assert parse_yaml(FILE, yaml.safe_dump(settings).encode()) == settings
    assert parse_yaml(FILE, b"") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"[" * 200_000,
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"\x00" * 10,
    ],
)
def test_json_that_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedError, match="here/file: not valid JSON: "):
        parse_json(FILE, content)


def test_json_that_is_read() -> None:
    value = {"a": [1, -2.5e-7, None, True, "x", {}], "b": 2**63}
    assert parse_json(FILE, json.dumps(value).encode()) == value


def test_only_regular_files_of_some_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    (tmp_path / "link").symlink_to("small")
    (tmp_path / "small").write_text("first\nlast")
    for name in ("pipe", "endless", "folder"):
        with pytest.raises(DamagedError, match=f"{name}: is no regular file"):
            read_bytes(tmp_path / name, 100)
        assert read_tail(tmp_path / name) == ""
    for name in ("loop", "nowhere"):
        with pytest.raises(DamagedError, match=f"{name}: "):
            read_bytes(tmp_path / name, 100)
    with pytest.raises(DamagedError, match="sparse: is larger than 100 bytes"):
        read_bytes(tmp_path / "sparse", 100)
    # On another file system, say.
    assert read_bytes(tmp_path / "link", 10) == b"first\nlast"
    assert read_tail(tmp_path / "small", 4) == "last"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "its first line is not k,x"),
        ("k,y\n1,0.5\n", "its first line is not k,x"),
        ("k,x,z\n1,0.5,2\n", "its first line is not k,x"),
        ("k,x\n1,0.5", "its last line is cut off"),
        ("k,x\n1\n", "a line has not 2 fields"),
        ("k,x\n1,0.5,\n", "a line has not 2 fields"),
        ("k,x\n1,nan\n", "not a table of numbers"),
        ("k,x\n1,inf\n", "not a table of numbers"),
        ("k,x\n1,\n", "x: got nan, allowed: numbers from 0 to 1"),
        ("k,x\n1_0,0.5\n", "not a table of numbers"),
        ("k,x\n1,=0.5\n", "not a table of numbers"),
        ("k,x\n1,٣\n", "not a table of numbers"),
        ("k,x\n1,0.5.5\n", "x: not a number"),
        ("k,x\n1,1e999\n", "x: got inf, allowed: numbers from 0 to 1"),
        ("k,x\n1,7.5\n", "x: got 7.5, allowed: numbers from 0 to 1"),
        ("k,x\n1,-0.1\n", "x: got -0.1"),
        ("k,x\n1.5,0.5\n", "k: got 1.5, allowed: whole numbers from 0"),
        ("k,x\n-1,0.5\n", "k: got -1, allowed: whole numbers from 0"),
    ],
)
def test_tables_that_are_refused(content: str, problem: str) -> None:
    with pytest.raises(DamagedError, match="here/file: ") as caught:
        parse_table(FILE, content.encode(), {"k": Column(whole=True), "x": Column(high=1)})
    assert problem in str(caught.value)


def test_a_table_that_is_read() -> None:
    found = parse_table(FILE, b"k,x\r\n1,\r\n2,1e-05\r\n", {"k": Column(whole=True), "x": Column(high=1, empty=True)})
    np.testing.assert_array_equal(found["k"], [1, 2])
    np.testing.assert_array_equal(found["x"], [np.nan, 1e-5])


def test_the_error_is_the_same_in_another_process() -> None:
    error = pickle.loads(pickle.dumps(DamagedError(FILE, "is gone")))
    assert (str(error), error.file, error.problem) == ("here/file: is gone", FILE, "is gone")
    assert error.within(Path("here")) == "file: is gone"
    assert error.within(Path("there")) == "is gone"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    run = write_run(tmp_path / "run", 0.5)
    found: dict[str, Any] = yaml.safe_load((run / ".hydra" / "config.yaml").read_text())
    return found


def test_settings_are_checked_and_nothing_is_resolved(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_RUNNER_DATA", "mine")
    config = checked_settings(settings)
    assert (config.seed, config.method.name, config.model.hidden) == (0, "ewc", [100, 100])
    assert config.data_dir == "${oc.env:CL_RUNNER_DATA,data}"
    # Whole numbers are numbers.
    settings["freeze"] = 1
    assert isinstance(checked_settings(settings).freeze, float)
    names = dict(dotted(config))
    assert names["method.ewc_lambda"] == 10
    assert names["threads"] is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed: got -1, allowed: an integer from 0"),
        (
            "seed",
            "${oc.env:SEED}",
            "seed: got ${oc.env:SEED}, an interpolation, which is not resolved here, allowed: an",
        ),
        ("seed", "???", "seed: got ???, allowed: an integer"),
        ("seed", True, "seed: got True, allowed: an integer"),
        ("seed", 1.0, "seed: got 1.0, allowed: an integer"),
        ("seed", 2**63, "seed: got 9223372036854775808, allowed"),
        ("freeze", float("nan"), "freeze: got nan, allowed: a number from 0 to 1"),
        ("freeze", "0.5", "freeze: got 0.5, allowed: a number from 0 to 1"),
        ("method.ewc_lambda", 10**400, "method.ewc_lambda: got 1000"),
        ("method.ewc_lambda", float("inf"), "method.ewc_lambda: got inf, allowed: a number from 0 to 1e+30"),
        ("method.joint", 1, "method.joint: got 1, allowed: true or false"),
        ("method.mask", "all", "method.mask: got all, allowed: one of none, global, layerwise"),
        ("method.name", ["ewc"], "method.name: got ['ewc'], allowed: a word"),
        ("method.name", "x" * 5000, "method.name: got xxxx"),
        ("method", None, "method: got nothing, allowed: settings by name"),
        ("method", [], "method: got [], allowed: settings by name"),
        ("method.x/../../../OUTSIDE", 1, "method.x/../../../OUTSIDE: unknown setting, allowed: name, joint, penalty"),
        ("hidden", [10], "hidden: unknown setting, allowed: benchmark, model"),
        ("model.hidden", [], "model.hidden: got [], allowed: a list of integers with at least one entry"),
        ("model.hidden", [10, "a"], "model.hidden: got [10, 'a'], allowed: a list of integers"),
        ("model.hidden", [10**9], "model.hidden: got [1000000000], allowed"),
        ("model.hidden", 10, "model.hidden: got 10, allowed: a list of integers"),
    ],
)
def test_settings_that_are_refused(key: str, value: object, message: str, settings: dict[str, Any]) -> None:
    group, _, name = key.partition(".")
    (settings[group] if name else settings)[name or group] = value
    with pytest.raises(ConfigError) as caught:
        checked_settings(settings)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 400


def test_a_setting_that_came_later_is_what_runs_had_before_it(settings: dict[str, Any]) -> None:
    method, benchmark = settings["method"], settings["benchmark"]
    method.pop("unused", None)
    benchmark.pop("class_order", None)
    found = checked_settings(settings)
    assert (found.method.unused, found.benchmark.class_order) == ("counted", "seed")
    method["unused"], benchmark["class_order"] = "free", [3, 1, 4, 0]
    found = checked_settings(settings)
    assert (found.method.unused, found.benchmark.class_order) == ("free", [3, 1, 4, 0])
    for order in ("sedd", ["a"], [1, 1], 5, list(range(5000))):
        benchmark["class_order"] = order
        with pytest.raises(ConfigError, match=r"class_order: got .*allowed: one of seed, fixed, or a list of distinct"):
            checked_settings(settings)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("method.ewc_lambda=10 λ – …", "method.ewc_lambda=10 λ – …"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\t", r"two\nlines\t"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("\x9b2J", r"\x9b2J"),
    ],
)
def test_text_that_can_be_seen(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", " =1", "\t=1", "-x", '=HYPERLINK("x")'])
def test_no_field_is_a_formula(text: str) -> None:
    assert cell(text)[0] == "'"


@pytest.mark.parametrize("text", ["-1", "+1.5e-3", "-inf", "1-1", "[100,100]", "a=b", ""])
def test_fields_that_are_none_stay(text: str) -> None:
    assert cell(text) == text


def test_names_of_files() -> None:
    for text in ("freeze", "method.ewc_lambda", "model.hidden"):
        assert slug(text) == text
    hostile = ["x/../../../OUTSIDE", "x\\..\\y", "a b", "a?b", "ü", "", "\ud800", "x" * 5000, "x" * 5001, "con\x00"]
    found = [slug(text) for text in hostile]
    assert len(set(found)) == len(hostile)
    for name in found:
        assert name.isascii()
        assert not set(name) & set("/\\\x00 ")
        assert len(name) < 80


def test_words_of_a_command() -> None:
    words = ["plain", "a b", "it's", "$(reboot)", "two\nlines", "\x1b[2J'\\", "ü"]
    line = " ".join(map(in_a_shell, words))
    assert line.isprintable()
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, text=True).stdout
    assert read.split("\0")[:-1] == words
