"""Reports as pages: complete, escaped, self-contained, deterministic, whole or not at all."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic.report import Report, Status, Verdict

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
EVIL = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "img", "br"}


def make_verdict(data: str = "two_moons", **changes: Any) -> Verdict:
    plain = Verdict(
        "A1",
        "theorem",
        "Tweedie",
        "D = x + s² score",
        "Chen et al., https://arxiv.org/abs/2305.19947",
        data,
        Status.HOLDS,
        0.25,
        1.5,
        "largest gap",
        640,
        statistics={"mean gap": 0.125},
    )
    return replace(plain, **changes)


def make_report(*verdicts: Verdict) -> Report:
    return Report(verdicts, 17, {"numpy": "2.0"}, {"rtol": 1e-10, "sets": ["moons", "digits"]})


class Page(HTMLParser):
    """A page taken apart: tags with attributes, text, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(report: Report, path: Path, figures: dict[str, bytes] | None = None) -> str:
    report.to_html(path, figures)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def page_path(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_measured_stands_beside_bound_and_margin(page_path: Path) -> None:
    page = Page(written(make_report(make_verdict(), make_verdict("digits")), page_path))
    head = next(row for row in page.rows if "Measured" in row)
    row = next(row for row in page.rows if row[0] == "two_moons")
    cells = dict(zip(head, row, strict=True))
    assert head.index("Bound") == head.index("Measured") + 1
    assert (cells["Measured"], cells["Bound"], cells["Margin"]) == ("0.25", "1.5", "1.25")
    assert cells["What was measured"] == "largest gap"
    assert cells["Cases"] == "640"
    assert ["mean gap", "0.125", "0.125"] in page.rows
    assert "HOLDS" in cells["Verdict"]


def test_page_says_what_was_claimed_and_how_it_was_computed(page_path: Path) -> None:
    text = Page(written(make_report(make_verdict()), page_path)).text
    for part in (
        "A1 · Tweedie",
        "Theorem",
        "D = x + s² score",
        "Source: Chen et al., https://arxiv.org/abs/2305.19947",
        "does not prove",
        "seed 17",
        "rtol 1e-10",
        '["moons", "digits"]',
        "numpy 2.0",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("statuses", "kind", "sentence"),
    [
        (["HOLDS", "HOLDS"], "theorem", "Every theorem holds"),
        (["HOLDS", "FAILS"], "theorem", "1 failed"),
        (["FAILS", "FAILS"], "folklore+expectation", "2 failed"),
        (["HOLDS", "INCONCLUSIVE"], "theorem", "No theorem fails; 1 undecided or not tested"),
        (["NOT_TESTED", "NOT_TESTED"], "theorem", "Nothing was tested"),
        (["HOLDS", "HOLDS"], "observation", "Nothing failed; no theorem was among the claims"),
    ],
)
def test_summary_sentence_never_claims_too_much(
    statuses: list[str], kind: str, sentence: str, page_path: Path
) -> None:
    verdicts = [
        make_verdict(f"set {k}", status=Status(status), kind=kind)
        for k, status in enumerate(statuses)
    ]
    page = Page(written(make_report(*verdicts), page_path))
    assert sentence in page.text
    others = {"Every theorem holds", "1 failed", "2 failed", "Nothing was tested"} - {sentence}
    assert not any(other in page.text for other in others)


def test_failure_is_said_in_words_and_colour_with_its_counterexample(page_path: Path) -> None:
    failing = make_verdict(
        "digits",
        status=Status.FAILS,
        measured=2.0,
        worst={"x": np.array([0.1, -2.0]), "sigma": np.float64(0.5), "ids": {np.int64(3): (1, 2)}},
    )
    html = written(make_report(make_verdict(), failing), page_path)
    page = Page(html)
    matrix = next(row for row in page.rows if row[0].startswith("A1"))
    assert "HOLDS" in matrix[1]
    assert "FAILS" in matrix[2]
    badges = [tag for tag in page.named("span") if "FAILS" in (tag.get("class") or "")]
    assert len(badges) == 3  # among the counts, in the matrix, in the claim's table
    assert ["x", "[0.1, -2.0]"] in page.rows
    assert ["sigma", "0.5"] in page.rows
    assert ["ids", '{"3": [1, 2]}'] in page.rows
    assert "Counterexample on digits" in page.text
    # what is folded is not printed, so a counterexample is not folded
    assert [("open" in tag) for tag in page.named("details")] == [True]


def test_counts_and_matrix_cover_every_verdict(page_path: Path) -> None:
    verdicts = (
        make_verdict(),
        make_verdict("digits", status=Status.INCONCLUSIVE),
        make_verdict(
            "digits", claim="B2", status=Status.NOT_TESTED, measured=float("nan"), cases=0
        ),
    )
    page = Page(written(make_report(*verdicts), page_path))
    head = page.rows[0]
    assert head == ["Claim", "two_moons", "digits"]
    assert page.rows[1] == ["A1 Tweedie", "✓ HOLDS", "? INCONCLUSIVE"]
    assert page.rows[2] == ["B2 Tweedie", "—", "– NOT TESTED"]
    assert "✓ HOLDS 1" in page.text
    assert "✗ FAILS 0" in page.text
    row = next(row for row in page.rows if row[0] == "digits" and "NOT TESTED" in row[1])
    assert row[2:5] == ["—", "1.5", "—"]  # nothing was measured, and the page says so


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("theorem", ["Theorem (T)"]),
        ("folklore+expectation", ["Folklore (F)", "refuted", "Expectation (E)"]),
        ("observation", ["Observation (O)"]),
        ("conjecture", ["Conjecture"]),
    ],
)
def test_kind_in_words(kind: str, words: list[str], page_path: Path) -> None:
    text = Page(written(make_report(make_verdict(kind=kind)), page_path)).text
    assert all(word in text for word in words)


def test_every_text_is_escaped(page_path: Path) -> None:
    evil = Verdict(
        EVIL,
        EVIL,
        EVIL,
        EVIL,
        EVIL,
        EVIL,
        Status.FAILS,
        1.0,
        0.0,
        EVIL,
        1,
        {EVIL: EVIL, "list": [EVIL]},
        {EVIL: 1.0},
        EVIL,
    )
    report = Report((evil,), 0, {EVIL: EVIL}, {EVIL: EVIL})
    html = written(report, page_path, {EVIL: PNG})
    assert "<script" not in html
    page = Page(html)
    assert page.named("script") == []
    assert page.text.count("<script>alert('x')</script>") >= 12
    assert EVIL in str(page.named("img")[0]["alt"])


def test_figures_are_embedded_and_nothing_is_loaded(page_path: Path) -> None:
    html = written(make_report(make_verdict()), page_path, {"A1": PNG})
    page = Page(html)
    (image,) = page.named("img")
    kind, code = str(image["src"]).split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(code) == PNG
    assert "A1" in str(image["alt"])
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:"))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in page.tags)


def test_page_is_navigable(page_path: Path) -> None:
    verdicts = [make_verdict(), make_verdict("digits", claim="B 2/x", worst={"a": 1})]
    page = Page(written(make_report(*verdicts), page_path))
    assert page.named("html")[0]["lang"] == "en"
    assert page.named("title")
    identifiers = [each["id"] for _, each in page.tags if "id" in each]
    assert len(identifiers) == len(set(identifiers))
    assert {str(a["href"])[1:] for a in page.named("a")} <= set(map(str, identifiers))
    assert all(cell.get("scope") in ("row", "col") for cell in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))


def contrast(one: str, two: str) -> float:
    """The contrast ratio of WCAG 2.2 between two colours #rrggbb."""

    def luminance(code: str) -> float:
        part = np.array([int(code[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    bright, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_verdict_colours_are_readable(page_path: Path) -> None:
    html = written(make_report(make_verdict()), page_path)
    for status in Status:
        found = re.search(rf"\.{status} {{ background: (#\w+); color: (#\w+);", html)
        assert found, status
        back, front = (
            c if len(c) == 7 else "#" + "".join(2 * k for k in c[1:]) for c in found.groups()
        )
        assert contrast(back, front) >= 7


def test_same_report_same_bytes(tmp_path: Path) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        report = make_report(make_verdict(worst={"x": np.arange(3.0), "thing": object()}))
        pages.append(written(report, tmp_path / name, {"A1": PNG}))
    assert pages[0] == pages[1]


def test_long_values_are_cut_and_say_so(page_path: Path) -> None:
    page = written(make_report(make_verdict(worst={"x": np.arange(5000.0)})), page_path)
    assert "all of them in the JSON report" in page
    assert len(page) < 20_000


def test_a_report_of_nothing_is_a_page(page_path: Path) -> None:
    assert "Nothing was tested" in Page(written(make_report(), page_path)).text


def test_figures_for_unknown_claims_or_of_other_formats_are_refused(page_path: Path) -> None:
    report = make_report(make_verdict())
    with pytest.raises(ValueError, match=r"figures: got 'A2'.*A1"):
        report.to_html(page_path, {"A2": PNG})
    with pytest.raises(ValueError, match=r"figures\['A1'\].*PNG"):
        report.to_html(page_path, {"A1": b"%PDF-1.4"})
    assert not page_path.exists()


# --- whole or not at all ---------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_raises_and_stays_empty(tmp_path: Path) -> None:
    report = make_report(make_verdict())
    with pytest.raises(FileNotFoundError):
        report.to_html(tmp_path / "missing" / "report.html")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(NotADirectoryError):
        report.to_html(tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_raises_and_stays_empty(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        make_report(make_verdict()).to_html(folder / "report.html")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("stage", ["fdopen", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_keeps_the_old_page(
    stage: str, error: BaseException, page_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_path.write_text("old")

    def broken(*arguments: Any) -> Any:
        if stage == "fdopen":
            os.close(arguments[0])
        raise error

    monkeypatch.setattr(os, stage, broken)
    with pytest.raises(type(error)):
        make_report(make_verdict()).to_html(page_path)
    monkeypatch.undo()
    assert page_path.read_text() == "old"
    assert [path.name for path in page_path.parent.iterdir()] == [page_path.name]


def test_verdicts_margin_and_counts() -> None:
    report = make_report(make_verdict(), make_verdict(status=Status.NOT_TESTED))
    assert report.verdicts[0].margin == 1.25
    assert report.counts() == {"HOLDS": 1, "FAILS": 0, "INCONCLUSIVE": 0, "NOT_TESTED": 1}
    assert report.holds
    assert not make_report(make_verdict(status=Status.NOT_TESTED)).holds
    assert not make_report(make_verdict(), make_verdict(status=Status.FAILS)).holds
