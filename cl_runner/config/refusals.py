"""What Hydra, OmegaConf and YAML say of a wrong setting, as one line that names it, or its file, and what is allowed.

Classes and attributes of their errors are taken where they tell; where they do not, the words are. Each of the kinds
is provoked in `tests/test_refusals.py`.
"""

import re
from dataclasses import fields, is_dataclass

from hydra.core.override_parser.types import Override
from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
    SearchPathException,
)
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    GrammarParseError,
    InterpolationResolutionError,
    KeyValidationError,
    OmegaConfBaseException,
)
from yaml import YAMLError
from yaml.reader import ReaderError

from cl_runner.config.descriptions import describe, is_known
from cl_runner.config.overrides import quoted
from cl_runner.config.whereabouts import PRIMARY, is_about_settings, place_of
from cl_runner.errors import ConfigError, RunError, from_system

# Of what Hydra makes an object of.
_TARGET = "_target_"
# A preset of another package, which may not be here.
_OPTUNA = "hydra/sweeper/optuna"
_SETTINGS = "settings as key=value"
_NAME = re.compile(r"[+~]{0,2}[\w$-]+(?:[./][\w$-]+)*(?:@[\w.$-]*)?", re.ASCII)
# Words of `ConfigCompositionException` that has no cause with attributes, and what to say then.
_WORDS = [
    (
        r"Multiple values for (?P<key>[^\s@]+)\S*\.",
        "{key}: is chosen already, allowed: {how}; in a preset's defaults: override /{key}: NAME",
    ),
    (
        r"force-add of config groups is not supported: '\+\+(?P<key>[^=]+)=(?P<value>.*)'",
        "{key}: got ++, allowed: {how}",
    ),
    (r"Could not append to config\. An item is already at '(?P<key>[^']+)'", "{key}: got +, allowed: {how}"),
    (r"Could not delete from config\. '(?P<key>[^']*)' does not exist", "{key}: unknown setting, allowed: {allowed}"),
    (
        r"Could not delete from config\. The value of '(?P<key>[^']*)' is (?P<is>.*) and not (?P<value>.*)\.",
        "{key}: got ~{key}={value}, but it is {is}, allowed: {allowed}",
    ),
    (r"Could not delete '(?P<key>[^=']*).*'\. No match", "{key}: is not chosen, and cannot be taken out by ~"),
    (r"Could not override '(?P<key>[^']+)'", "{key}: unknown setting{place}, allowed: {allowed}"),
    (r"Override \+*(?P<key>[^@=]+)@.* looks like a config group", "{key}: unknown setting, allowed: {allowed}"),
    (
        r"(Sweep parameters|Ambiguous value for argument) '(?P<key>[^=]+)=(?P<value>.*?)'( requires|\s*\n)",
        "{key}: got {value}, allowed: {allowed}; a list is key=[a,b], a sweep over values needs -m",
    ),
    (
        r"Sweeping over Hydra's configuration is not supported : '(?P<key>[^=]+)=(?P<value>.*)'",
        "{key}: got {value}, allowed: one value, Hydra's own settings are those of the whole sweep",
    ),
    (r"Invalid (?P<key>hydra\.mode) '(?P<value>.*)'; expected", "{key}: got {value}, allowed: {allowed}"),
    (
        r"Invalid Defaults List override '/?(?P<key>[^:']+): ",
        "{key}: has nothing before it to override{place}, allowed: {allowed}",
    ),
    (
        r"'(?P<key>hydra[./]\w+)' must be (selected|configured) before the sweep starts",
        "{key}: is another in a job, allowed: that of the whole sweep",
    ),
    (r"You must specify '(?P<key>[^']+)'", "{key}: got nothing{place}, allowed: {key}=NAME"),
]


def told(error: Exception) -> RunError:
    """An error that its user can do something about, as one line: of a run, of the system, or over settings."""
    if isinstance(error, RunError):
        return error
    # Some errors about settings are of this class too, without a number.
    if isinstance(error, OSError) and not (error.errno is None and is_about_settings(error)):
        return from_system(error)
    return refusal(error)


def refusal(error: BaseException, field: str = "") -> ConfigError:
    """One line for an error that Hydra, OmegaConf or YAML raised over settings.

    Args:
        error: what was raised.
        field: that it was raised over, where the error may not tell.
    """
    return ConfigError(" ".join(_line(error, field).split()))


def _line(error: BaseException, field: str) -> str:
    if isinstance(error, OverrideParseException):
        return _unparsed(error)
    if isinstance(error, MissingConfigException):
        return _not_found(error)
    if isinstance(error, YAMLError):
        return _no_yaml(error)
    if isinstance(error, SearchPathException):
        return f"--config-dir: {error}"
    if isinstance(error, RecursionError):
        return (
            f"{place_of(error) or 'a preset'}: it leads back to itself, allowed: settings, and defaults of other files"
        )
    said = error
    if isinstance(error, ConfigCompositionException):
        # Of composing a preset Hydra raises an error of its own while it handles OmegaConf's.
        said = error.__cause__ or error.__context__ or error
    # In a list of defaults a value has no name.
    if isinstance(said, OmegaConfBaseException) and said.full_key != "_dummy_":
        return _of_field(said, str(error), error, field)
    if isinstance(error, ConfigCompositionException):
        for pattern, words in _WORDS:
            if found := re.search(pattern, str(error), re.DOTALL):
                return _said(words, found.groupdict(), _preset(str(error)))
    text, place = _reason(error), place_of(error)
    if isinstance(place, Override):
        return _of_override(place, text)
    if place.endswith("_logging") and error.__cause__:
        text += f" ({_reason(error.__cause__)})"
    if isinstance(error, InstantiationException) and (key := re.search(r"full_key: ([\w.]+)", str(error))):
        # `error` tells what could not be made, its cause why.
        place, text = key[1], _reason(error.__cause__ or error)
    return f"{place}: {text}" if place and place.removesuffix(".yaml") not in text else text


def _of_override(override: Override, reason: str) -> str:
    key, value = override.key_or_group, str(override.input_line).partition("=")[2]
    if not key:
        return f"'{override.input_line}' is not a setting, allowed: {_SETTINGS}"
    return f"{key}: got {value} ({reason}), allowed: {_allowed(key)}"


def _unparsed(error: OverrideParseException) -> str:
    """An override, or an entry of a sweep, that is not of Hydra's grammar."""
    key, equals, value = error.override.partition("=")
    if not equals:
        return f"'{error.override}' is not a setting, allowed: {_SETTINGS}"
    if not _NAME.fullmatch(key):
        return f"'{key or error.override}' is not the name of a setting, allowed: {_SETTINGS}"
    # Of a function the reason is told, in the second line; the parser's own words are about its grammar.
    reason = re.search(r"while evaluating '.*': (.*)", error.message) or re.search(
        r"\n(positional argument.*|Trying to parse.*)", error.message
    )
    why = f" ({reason[1]})" if reason else ""
    allowed = describe(key.lstrip("+~"))
    quotes = f"; in quotes it may have any characters: '{key}={quoted(value)}'" if allowed.startswith("a word") else ""
    return f"{key}: got {value}, which is no value in Hydra's grammar{why}, allowed: {allowed}{quotes}"


def _not_found(error: MissingConfigException) -> str:
    missing, place = str(error.missing_cfg_file or ""), _preset(str(error))
    group, _, given = missing.rpartition("/")
    if error.options:
        options = [option for option in error.options if not option.endswith("_schema")]
        hint = "; the other needs: pip install cl-runner[optuna]" if missing == _OPTUNA else ""
        return f"{group}: got '{given}'{place}, allowed: one of {', '.join(options)}{hint}"
    if not missing:
        return f"--config-path: {_reason(error)}"
    if not place:
        return f"--config-name: got {missing}, allowed: config, or the name of a file in --config-dir"
    return f"{missing}: there is no such preset{place}, allowed: one of a group's, as in /model: mlp"


def _no_yaml(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, ReaderError):
        return f"{error.name}: not valid YAML: {error.reason} (character {error.position})"
    line = f", line {mark.line + 1}" if mark else ""
    return f"{mark.name if mark else 'a preset'}{line}: not valid YAML: {getattr(error, 'problem', error)}"


def _of_field(said: OmegaConfBaseException, text: str, error: BaseException, field: str) -> str:
    """What OmegaConf says of a field.

    Args:
        said: its error.
        text: of the error that Hydra made of it, which names the override, or the preset.
        error: that error.
        field: its name, where `said` may not tell.
    """
    override = re.search(r"Error merging override [+~]*([^=\s]+)=?(.*)", text, re.DOTALL) or re.search(
        r"To append to your config use \+([^=\s]+)=(.*)", text, re.DOTALL
    )
    preset, place = _preset(text), place_of(error)
    if isinstance(place, Override) and not override:
        return _of_override(place, _reason(said))
    if not override:
        preset = preset or _within(error)
    # Of a list the entry does not matter: it is named by what it holds.
    key, owner = str(said.full_key or "").partition("[")[0] or (override[1] if override else field), said.object_type
    if override and not (key.startswith(override[1]) or override[1].startswith(key)):
        # What is told of lies within the value.
        key, owner = override[1], None
    reason = _reason(said)
    if not key:
        return f"{preset.strip(' (in)') or 'settings'}: {reason}, allowed: settings, each under the name of its group"
    allowed = _of_a_base(said) or describe(key, owner)
    if isinstance(said, (InterpolationResolutionError, GrammarParseError)):
        return f"{key}: {reason}{preset}, allowed: {allowed}"
    if isinstance(said, (ConfigAttributeError, ConfigKeyError, KeyValidationError)):
        if said.object_type is dict:
            return f"{key}: there is no such entry{preset}, allowed: +{key}=VALUE, which adds one"
        known = is_known(key, owner)
        group, _, name = key.partition(".")
        # It is what comes of a preset that does not say that it sets more than its group.
        hint = "; '# @package _global_' as its first line" if preset and group != "hydra" and is_known(name) else ""
        return f"{key}: {reason if known else 'unknown setting'}{preset}, allowed: {allowed}{hint}"
    if isinstance(said, ConfigTypeError) and text.startswith("Error merging override ~"):
        return f"{key}: cannot be taken out by ~, allowed: {allowed}"
    given = override[2] if override else "" if said.value is None else said.value
    return f"{key}: got {given if given != '' else 'nothing'}{preset}, allowed: {allowed}"


def _of_a_base(said: OmegaConfBaseException) -> str:
    """What is allowed of settings of which OmegaConf knows a base class alone, as of those of a sampler; else empty."""
    owner, parent = said.object_type, said.parent_node
    if not (is_dataclass(owner) and isinstance(parent, DictConfig)) or {item.name for item in fields(owner)} != {
        _TARGET
    }:
        return ""
    if isinstance(said, (ConfigAttributeError, ConfigKeyError)):
        return ", ".join(str(name) for name in parent if name != _TARGET)
    return f"what {parent[_TARGET]} takes"


def _said(words: str, found: dict[str, str], place: str) -> str:
    key = found["key"]
    how = f"{key}={found.get('value', 'VALUE')}, without the +"
    return words.format(**found, place=place, how=how, allowed=_allowed(key))


def _allowed(key: str) -> str:
    """What a setting, or a group of presets that is none, allows."""
    return f"{key}=NAME, a preset's" if key == "experiment" else describe(key)


def _preset(text: str) -> str:
    """The preset that a message of Hydra's begins with, in brackets; empty if it names none."""
    found = re.match(r"In '?([^\s':]+)'?:", text)
    return _bracketed(f"{found[1]}.yaml") if found and found[1] not in PRIMARY else ""


def _within(error: BaseException) -> str:
    """The preset that Hydra was at, in brackets."""
    place = place_of(error)
    return _bracketed(place) if isinstance(place, str) and place.endswith(".yaml") else ""


def _bracketed(file: str) -> str:
    return f" (in {file})" if file else ""


def _reason(error: BaseException) -> str:
    """The first lines of an error, to the end of a sentence."""
    text = str(getattr(error, "msg", "") or error) if not isinstance(error, KeyError) else f"there is no {error}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        cause = error.__cause__ or error.__context__
        return _reason(cause) if cause else type(error).__name__
    first = lines[0].split("full_key:")[0].removesuffix(", set env var HYDRA_FULL_ERROR=1 to see chained exception.")
    return f"{first} {lines[1]}" if first.endswith(":") and len(lines) > 1 else first
