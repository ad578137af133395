import re

import pytest

from policies_app.models import AuditEntry, Judge, QualityScore
from tests.factories import make_judge

VERSION = {
    "instructions": "You rate.",
    "rubric": "Is it right?",
    "lowest": "0",
    "highest": "10",
    "verdicts": "",
    "default": "0",
    "timeout_ms": "5000",
    "max_output_tokens": "8",
    "note": "first",
    "versions-TOTAL_FORMS": "0",
    "versions-INITIAL_FORMS": "0",
}


def save(client, path, fleet, **fields):
    form = {"name": "helpfulness", "description": "", "model": fleet.mid.pk, **VERSION} | fields
    return client.post(f"/admin/policies_app/judge/{path}/", form)


def test_a_new_judge_has_its_first_version(ops, fleet):
    answer = save(ops, "add", fleet)

    assert answer.status_code == 302
    (version,) = Judge.objects.get(name="helpfulness").versions.all()
    assert (version.number, version.rubric, version.model) == (1, "Is it right?", fleet.mid)
    assert AuditEntry.objects.filter(subject_type="judgeversion").exists()


def test_a_change_is_a_new_version_and_the_old_one_stands(ops, fleet):
    save(ops, "add", fleet)
    judge = Judge.objects.get()

    save(ops, f"{judge.pk}/change", fleet, rubric="Is it kind?", note="kinder")

    assert [(row.number, row.rubric) for row in judge.versions.order_by("number")] == [
        (1, "Is it right?"),
        (2, "Is it kind?"),
    ]


def test_saving_what_is_already_so_makes_no_version(ops, fleet):
    save(ops, "add", fleet)
    judge = Judge.objects.get()

    answer = save(ops, f"{judge.pk}/change", fleet, description="For support.", note="")

    assert answer.status_code == 302
    judge.refresh_from_db()
    assert judge.description == "For support."
    assert judge.versions.count() == 1


@pytest.mark.parametrize(
    ("fields", "wrong_field", "message"),
    [
        ({"verdicts": "good=2"}, "verdicts", "not of the form word=score"),
        ({"verdicts": "good"}, "verdicts", "not of the form word=score"),
        ({"default": "2"}, "default", "less than or equal to 1"),
        ({"lowest": "11"}, "__all__", "lower end exceeds"),
        ({"rubric": ""}, "rubric", "required"),
    ],
)
def test_a_scale_that_makes_no_sense_is_refused(ops, fleet, errors_of, fields, wrong_field, message):  # noqa: PLR0917
    errors = errors_of(save(ops, "add", fleet, **fields))

    assert message in errors[wrong_field][0]
    assert not Judge.objects.exists()


def test_the_page_shows_the_newest_version_and_all_before(ops, fleet):
    judge = make_judge("helpfulness", model=fleet.mid, rubric="Old.")
    judge.versions.create(number=2, model=fleet.mid, rubric="New.", author_name="mia")

    page = ops.get(f"/admin/policies_app/judge/{judge.pk}/change/").content.decode()

    assert re.search(r">\s*New\.\s*</textarea>", page)
    assert "Old." in page


def test_each_version_tells_what_it_changed(ops, fleet):
    judge = make_judge("helpfulness", model=fleet.mid, rubric="Be right.\nBe kind.")
    judge.versions.create(
        number=2, model=fleet.small, rubric="Be right.\nBe brief.", verdicts=["good=1"], author_name="mia"
    )

    page = ops.get(f"/admin/policies_app/judge/{judge.pk}/change/").content.decode()

    assert "model: small; was mid" in page
    assert "rubric, now: Be brief." in page
    assert "rubric, no longer: Be kind." in page
    assert "verdicts: good=1; was none" in page
    assert "Be right.</div>" not in page


def test_finance_sees_judges_and_changes_none(finance, fleet):
    judge = make_judge("helpfulness", model=fleet.mid)

    assert finance.get(f"/admin/policies_app/judge/{judge.pk}/change/").status_code == 200
    assert save(finance, "add", fleet).status_code == 403


def test_a_quality_score_is_set_by_hand(ops, fleet):
    answer = ops.post(
        "/admin/policies_app/qualityscore/add/",
        {
            "model": fleet.mid.pk,
            "task": "code",
            "score": "0.83",
            "measured_at_0": "2026-05-01",
            "measured_at_1": "12:00",
        },
    )

    assert answer.status_code == 302
    assert QualityScore.objects.get().score == 0.83
