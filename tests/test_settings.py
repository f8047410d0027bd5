"""How one declaration becomes a flag, an environment variable and a line of help."""

from __future__ import annotations

import pytest

from mpserve.declarations import ACTIONS, Settings, command_line
from mpserve.settings import (
    HELP_WIDTH,
    PATH,
    SWITCH,
    CommandLine,
    ConfigError,
    Declared,
    Given,
    environment_layer,
    listed,
    one_of,
    setting,
    shown,
    whole,
)


class Garden(Declared):
    """Settings of a garden."""

    place = setting(".", "Where it is.", PATH, "Ground", argument="PLACE")
    plants = listed(("rose",), "What grows.", one_of("rose", "fern", "moss"), "Ground")
    water_level = setting(50, "Of 100 %.", whole(0, 100), "Water")
    fenced = setting(False, "Keep deer out.", SWITCH, "Ground")


def line() -> CommandLine:
    return CommandLine(
        Garden.declarations(), {"dig": "Dig."}, {}, usage="garden", description="A.", epilog="B."
    )


def test_a_declaration_knows_its_name() -> None:
    assert [(each.name, each.flag, each.variable) for each in Garden.declarations()] == [
        ("place", "PLACE", "MPSERVE_PLACE"),
        ("plants", "--plants", "MPSERVE_PLANTS"),
        ("water_level", "--water-level", "MPSERVE_WATER_LEVEL"),
        ("fenced", "--fenced", "MPSERVE_FENCED"),
    ]


def test_the_first_layer_that_has_a_setting_gives_its_value() -> None:
    garden = Garden(
        [
            {"water_level": Given(("7",), "first")},
            {"water_level": Given(("8",), "second"), "plants": Given(("fern", "moss"), "second")},
        ]
    )

    assert (garden.place, garden.plants, garden.water_level) == (".", ("fern", "moss"), 7)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        pytest.param([], "--plants", id="a default: the flag that would change it"),
        pytest.param([{"plants": Given(("fern",), "garden.toml")}], "garden.toml", id="a layer"),
    ],
)
def test_a_value_can_tell_where_it_stood(layers: list[dict[str, Given]], expected: str) -> None:
    assert Garden(layers).where(Garden.plants) == expected


def test_what_is_not_allowed_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as refused:
        Garden([{"plants": Given(("rose", "oak"), "garden.toml")}])

    assert str(refused.value) == "garden.toml: must be rose, fern or moss, not 'oak'"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {}),
        (["field"], {"place": ("field",)}),
        (["--plants", "fern", "--plants=moss"], {"plants": ("fern", "moss")}),
        (["--water-level", "1", "--water-level", "2"], {"water_level": ("1", "2")}),
        (["--fenced", "--no-fenced"], {"fenced": ("on", "off")}),
        (["--plants", "-", "--", "-field"], {"plants": ("-",), "place": ("-field",)}),
    ],
)
def test_the_command_line_as_a_layer(argv: list[str], expected: dict[str, tuple[str, ...]]) -> None:
    layer, action = line().parse(argv)

    assert {name: given.texts for name, given in layer.items()} == expected
    assert action is None


def test_the_last_of_several_values_counts() -> None:
    layer, _ = line().parse(["--water-level", "1", "--fenced", "--water-level=2", "--no-fenced"])
    garden = Garden([layer])

    assert (garden.water_level, garden.fenced) == (2, False)


def test_an_action_may_take_the_place_of_the_usual_one() -> None:
    assert line().parse(["--fenced", "--dig"])[1] == "dig"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MPSERVE_WATER_LEVEL": "3"}, {"water_level": ("3",)}),
        ({"MPSERVE_PLACE": "a\nb"}, {"place": ("a\nb",)}),
        ({"MPSERVE_PLANTS": "\nrose\n\nfern\n"}, {"plants": ("rose", "fern")}),
        ({"MPSERVE_PLANTS": "\n", "MPSERVE_FENCED": ""}, {}),
        ({"MPSERVE_FENCE": "on", "WATER_LEVEL": "1"}, {}),
    ],
)
def test_the_environment_as_a_layer(
    environ: dict[str, str], expected: dict[str, tuple[str, ...]]
) -> None:
    layer = environment_layer(Garden.declarations(), environ)

    assert {name: given.texts for name, given in layer.items()} == expected


@pytest.mark.parametrize("declaration", Settings.declarations(), ids=lambda each: each.name)
def test_every_default_may_be_written_as_it_is_shown(declaration: object) -> None:
    assert isinstance(declaration, type(Garden.place))
    if declaration.shown_default:
        texts = declaration.shown_default.split(", ")

        assert declaration.read(texts) == declaration.default


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((None, ""), (True, "on"), (False, "off"), (75.0, "75"), (0.5, "0.5"), (7, "7")),
        *((b"mpserve", "mpserve"), (("a", b"b"), "a, b"), ((), "")),
    ],
)
def test_a_value_as_one_would_write_it(value: object, expected: str) -> None:
    assert shown(value) == expected


# --- Help -----------------------------------------------------------------------------------------


def test_help_names_every_setting_with_its_default() -> None:
    text = " ".join(command_line().help().split())
    missing = [
        declaration.flag
        for declaration in Settings.declarations()
        if declaration.flag not in text
        or (declaration.shown_default and f"[{declaration.shown_default}]" not in text)
    ]

    assert missing == []


def test_help_names_every_action() -> None:
    text = command_line().help()

    assert [action for action in ACTIONS if f"--{action} " not in text] == []


def test_help_has_the_groups_and_a_percent_sign_as_they_were_declared() -> None:
    found = line().help()

    assert found.index("Ground:") < found.index("Water:") < found.index("Other:")
    assert "Of 100 %. [50]" in found


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_fits_the_terminal_and_a_page(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))  # pytest itself asks for the size of the terminal
    options = line().help()
    whole_help = command_line().help()

    assert max(map(len, options.splitlines())) <= min(columns, HELP_WIDTH)
    assert max(map(len, whole_help.splitlines())) <= HELP_WIDTH


def test_help_is_plain_text() -> None:
    assert command_line().help().isascii()
    assert "\x1b" not in command_line().help()
