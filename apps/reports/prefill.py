"""Text for the impression, made of the findings that the reader takes as present."""

from collections.abc import Iterable, Sequence

from django.utils import translation
from django.utils.translation import gettext as _

from apps.core.errors import ConflictError
from apps.core.finding_names import FINDINGS, finding_name
from apps.inference.models import InferenceJob
from apps.reading.selectors import reading_policy
from apps.reports.models import Verdict
from apps.reports.selectors import reader_findings_of, verdicts_of
from apps.studies.models import Study


def text_of_findings(*, study: Study, job: InferenceJob | None, with_normal: bool = False) -> str:
    """A line for each finding that the reader agreed with or added, in the language of the hospital's reports.

    Nothing of the AI that the reader has not agreed with is in it.

    Args:
        job: the reading whose findings the reader sees; None where the reader sees none.
        with_normal: say also that there is no evidence of the others, but of those that the AI flagged and the reader
            has not decided on.

    Raises:
        ConflictError: there is no finding to write down.
    """
    present, undecided = _decided(job)
    added = reader_findings_of(study)
    labels = [*present, *(each["label"] for each in added if each["label"])]
    with translation.override(reading_policy().language):
        lines = [finding_name(label) for label in dict.fromkeys(labels)]
        lines += [each["name"] for each in added if not each["label"]]
        if with_normal:
            absent = [label for label in FINDINGS if label not in labels and label not in undecided]
            lines += [_none_of(absent)] if absent else []
        if not lines:
            raise ConflictError(_("There is no finding yet that you agreed with or added."), "no-finding-agreed")
        return "\n".join(f"{line}." for line in lines)


def _decided(job: InferenceJob | None) -> tuple[Sequence[str], set[str]]:
    """The labels that the reader takes as present, and the flagged ones without a verdict."""
    if job is None:
        return [], set()
    verdicts = verdicts_of(job)
    present, undecided = [], set()
    for finding in sorted(job.findings.all(), key=lambda each: -each.probability):
        verdict = verdicts.get(finding.label)
        if not verdict:
            undecided |= {finding.label} if finding.positive else set()
        elif (verdict == Verdict.AGREE) == finding.positive:
            present.append(finding.label)
    return present, undecided


def _none_of(labels: Iterable[str]) -> str:
    """One sentence, in which only German writes the names with a capital letter."""
    names = [finding_name(label) for label in labels]
    if translation.get_language() != "de":
        names = [name[0].lower() + name[1:] for name in names]
    if len(names) == 1:
        return _("No evidence of %(name)s") % {"name": names[0]}
    return _("No evidence of %(names)s or %(last)s") % {"names": ", ".join(names[:-1]), "last": names[-1]}
