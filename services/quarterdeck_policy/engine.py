"""Cedar, loaded once per bundle and asked many times. Deny by default; deny on any error.

Cedar skips a policy that errs, which would let a `forbid` be switched off by breaking it: here any evaluation error
makes the verdict `deny`.

Source: Cedar documentation, 'Authorization' (evaluation errors); AuthZEN Authorization API 1.0 section 5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import cedarpy
import msgspec

from quarterdeck_domain.events import Actor
from quarterdeck_domain.intent import Intent
from quarterdeck_domain.policy.values import (
    MAX_BUNDLE_CHARACTERS,
    UNKNOWN_SUBJECT,
    BundleText,
    SubjectFacts,
    Verdict,
)
from quarterdeck_policy.annotations import Annotations, read_annotations
from quarterdeck_policy.cedar_request import RESERVED, NotMappable, Uid, cedar_request, cedar_type
from quarterdeck_policy.cedar_text import PolicyText, Unreadable, check_nesting, members_read, split_policies
from quarterdeck_policy.errors import InvalidBundle
from quarterdeck_policy.shelf import Shelf
from quarterdeck_policy.slicing import Family, Scope, Slice, Slicer, read_scope

MAX_DETERMINING: Final = 64
MAX_OBLIGATIONS: Final = 16
MAX_OBLIGATION_BYTES: Final = 6_000
MAX_ERRORS: Final = 8
MAX_ERROR_BYTES: Final = 300
MAX_REASON_BYTES: Final = 600

NO_POLICY: Final = Verdict(outcome="deny", reason="no policy is in force")
NOTHING_PERMITS: Final = "no policy permits this"
FAILED: Final = "policy could not be evaluated"

_UNREGISTERED: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {}
_AT_POLICY: Final = re.compile(r"error while evaluating policy `policy([0-9]+)`")
_MISSING: Final = re.compile(r"does not have the attribute `([A-Za-z_][A-Za-z0-9_]*)`")
_TYPES: Final = re.compile(r"type error: expected [a-z][a-z ,()]*, got [a-z]+")


class Engine:
    """Makes bundles ready to be asked."""

    def loaded(self, text: BundleText) -> LoadedBundle | None:
        """Return a bundle that was loaded before, where the engine keeps any."""
        return None

    def load(self, text: BundleText) -> LoadedBundle:
        """Parse and check a bundle. Slow (milliseconds per hundred policies): once per change, off the event loop.

        Raises:
            InvalidBundle: with every problem found.
        """
        try:
            return self._load(text)
        except BaseException as error:
            if not _is_panic(error):
                raise
            raise InvalidBundle(["Cedar panicked while reading the bundle"]) from None

    def _load(self, text: BundleText) -> LoadedBundle:
        if len(text.policies) + len(text.cedar_schema or "") + len(text.entities) > MAX_BUNDLE_CHARACTERS:
            raise InvalidBundle([f"the bundle is longer than {MAX_BUNDLE_CHARACTERS} characters"])
        try:
            policies = split_policies(text.policies)
            if text.cedar_schema is not None:
                check_nesting(text.cedar_schema, "schema")
        except Unreadable as error:
            raise InvalidBundle([str(error)]) from None
        problems: list[str] = []
        schema = _schema(text.cedar_schema, problems)
        entities = _entities(text.entities, schema, problems)
        annotations, scopes = _read_policies(policies, problems)
        if not problems and schema is not None:
            problems.extend(_violations(policies, schema))
        if problems or entities is None:
            raise InvalidBundle(problems)
        return LoadedBundle(policies, annotations, scopes, entities)


class LoadedBundle:
    """A bundle that can be asked. Not to be shared between threads."""

    def __init__(
        self,
        policies: Sequence[PolicyText],
        annotations: Sequence[Annotations],
        scopes: Sequence[Scope],
        entities: cedarpy.Entities,
    ) -> None:
        """Take what `Engine.load` has checked."""
        self._annotations = tuple(annotations)
        self._entities = entities
        self._policies = tuple(policies)
        self._slicer = Slicer(self._policies, scopes, Family(entities))
        self.reads_clock = any(policy.reads_clock for policy in policies)
        """Whether a policy may ask for `context.verified.now`; if not, evaluation needs no time."""
        read = members_read(policies)
        self.context_members = None if read is None else read - RESERVED
        """Members of the request's own context that policies read; None if one uses the context as a whole."""
        self._shelf = Shelf(entities) if any(policy.reads_estate for policy in policies) else None

    def __len__(self) -> int:
        """Return the number of policies."""
        return len(self._annotations)

    def evaluate(
        self,
        intent: Intent,
        now: datetime | None = None,
        *,
        caller: Actor | None = None,
        subject: SubjectFacts = UNKNOWN_SUBJECT,
        approved: bool = False,
        estate: Mapping[tuple[str, str], Mapping[str, Any]] = _UNREGISTERED,
    ) -> Verdict:
        """Return the verdict on an intent. Never raises: what goes wrong is an error in a verdict that denies.

        `now`: the database's clock, shown to policy only if `reads_clock`. `caller`: who asks, verified.
        `approved`: an approval that applies to this intent was presented; what would ask for one, permits.
        `estate`: what the log says of the subject and the resource, by type and id; see `estate.ATTRIBUTES`.
        """
        try:
            request = cedar_request(intent, caller=caller, subject=subject, now=now if self.reads_clock else None)
            own = (request.principal, request.action, request.resource)
            said = {
                (cedar_type(entity.type), entity.id): estate[entity.type, entity.id]
                for entity in (intent.subject, intent.resource)
                if (entity.type, entity.id) in estate
            }
            slices = self._slicer.slices(*own)
            satisfied: list[int] = []
            errors: list[str] = []
            for numbers in slices:
                chosen = self._slicer.slice(numbers)
                asked = request.as_dict(chosen.context_members)
                result = cedarpy.is_authorized(asked, chosen.policies, self._entities_for(chosen, own, said))
                errors.extend(self._plain(error, numbers) for error in result.diagnostics.errors)
                satisfied.extend(self._satisfied(result, numbers))
            if errors:
                return failed(errors)
            # In the order of the bundle: it decides which reason and which approval path are given.
            return _verdict([self._annotations[number] for number in sorted(satisfied)], approved)
        except NotMappable as error:
            return failed([str(error)])
        except Exception as error:  # fail closed: whatever it was, the answer is no
            return failed([f"evaluation failed: {type(error).__name__}"])
        except BaseException as error:
            if not _is_panic(error):
                raise
            return failed(["evaluation failed: Cedar panicked"])

    def _entities_for(
        self, chosen: Slice, own: Sequence[Uid], said: Mapping[Uid, Mapping[str, Any]]
    ) -> cedarpy.Entities:
        if self._shelf is None or not said or not chosen.reads_estate:
            return self._entities
        return self._shelf.entities(own, chosen.entities_named, said)

    def _satisfied(self, result: cedarpy.AuthzResult, numbers: Sequence[int]) -> list[int]:
        # Cedar names policies by their place in the slice.
        found = [numbers[int(reason.removeprefix("policy"))] for reason in result.diagnostics.reasons]
        permits = bool(found) and all(self._annotations[number].effect == "permit" for number in found)
        fits = {cedarpy.Decision.Allow: permits, cedarpy.Decision.Deny: not permits}
        if not fits.get(result.decision, bool(result.diagnostics.errors)):
            raise RuntimeError("Cedar's decision does not fit the policies it names")
        return found

    def _plain(self, error: str, numbers: Sequence[int]) -> str:
        """Return Cedar's error without anything of the request: its values may be personal, and errors are kept in
        clear."""
        match = _AT_POLICY.match(error)
        if match is None or int(match[1]) >= len(numbers):
            return "the request cannot be put to policy"
        number = numbers[int(match[1])]
        missing, types = _MISSING.search(error), _TYPES.search(error)
        what = "it failed"
        if missing is not None and missing[1] in self._policies[number].text:
            what = f"the attribute `{missing[1]}` is missing"
        elif types is not None:
            what = types[0]
        return f"policy `{self._annotations[number].id}`: {what}"


def _is_panic(error: BaseException) -> bool:
    # A panic in Cedar's Rust is no Exception, so that nobody swallows it by accident.
    return type(error).__name__ == "PanicException"


def failed(errors: Sequence[str]) -> Verdict:
    """Return the verdict where evaluation went wrong: deny, with the errors cut to what an entry can hold."""
    cut = tuple(_cut(error, MAX_ERROR_BYTES) for error in sorted(set(errors))[:MAX_ERRORS])
    return Verdict(outcome="deny", reason=FAILED, errors=cut)


def _verdict(satisfied: Sequence[Annotations], approved: bool) -> Verdict:
    """Add up the policies that the slices found satisfied: a forbid wins over every permit."""
    forbids = [policy for policy in satisfied if policy.effect == "forbid"]
    permitted = bool(satisfied) and not forbids
    deciding = forbids or satisfied
    asking = [policy for policy in deciding if policy.approval is not None]
    waiting = bool(asking) and not approved
    # Obligations go with the answer that settles the matter, not with the request to ask a human first.
    obligations = () if waiting else tuple(obligation for policy in deciding for obligation in policy.obligations)
    default = "" if permitted else "a policy forbids this" if deciding else NOTHING_PERMITS
    return bounded(
        Verdict(
            outcome=("approval_required" if waiting else "permit") if permitted else "deny",
            determining=tuple(policy.id for policy in deciding[:MAX_DETERMINING]),
            reason=_cut(
                next((policy.reason for policy in asking or deciding if policy.reason), default), MAX_REASON_BYTES
            ),
            obligations=obligations,
            approval_path=asking[0].approval if asking else None,
        )
    )


def bounded(verdict: Verdict) -> Verdict:
    """Return the verdict, or one that denies, where it has more obligations than an entry can hold."""
    obligations = verdict.obligations
    if len(obligations) > MAX_OBLIGATIONS or len(msgspec.json.encode(obligations)) > MAX_OBLIGATION_BYTES:
        return failed(["the deciding policies ask for more obligations than a decision can carry"])
    return verdict


def _read_policies(policies: Sequence[PolicyText], problems: list[str]) -> tuple[list[Annotations], list[Scope]]:
    annotations: list[Annotations] = []
    scopes: list[Scope] = []
    seen: dict[str, int] = {}
    for policy in policies:
        try:
            parsed = _parse(policy)
            annotated = read_annotations(parsed["effect"], parsed.get("annotations", {}))
            scopes.append(read_scope(parsed))
        except ValueError as error:
            problems.append(f"policy at line {policy.line}: {error}")
            continue
        if annotated.id in seen:
            problems.append(f"policy at line {policy.line}: @id {annotated.id!r} is taken by line {seen[annotated.id]}")
        seen.setdefault(annotated.id, policy.line)
        annotations.append(annotated)
    return annotations, scopes


def _parse(policy: PolicyText) -> dict[str, Any]:
    """Return a policy's head in Cedar's JSON form, its whole text having been accepted by Cedar."""
    parsed = cedarpy.PolicySet.from_str(policy.text)
    if len(parsed) != 1:
        raise ValueError("templates (?principal, ?resource) cannot be used in a bundle; write the policy out")
    head: dict[str, Any] = json.loads(cedarpy.policies_to_json_str(policy.head))["staticPolicies"]["policy0"]
    return head


def _schema(text: str | None, problems: list[str]) -> cedarpy.Schema | None:
    if text is None:
        return None
    try:
        return cedarpy.Schema.from_str(text)
    except ValueError as error:
        problems.append(f"schema: {error}")
        return None


def _entities(text: str, schema: cedarpy.Schema | None, problems: list[str]) -> cedarpy.Entities | None:
    try:
        return cedarpy.Entities.from_json_str(text, schema)
    except ValueError as error:
        problems.append(f"entities: {error}")
        return None


def _violations(policies: Sequence[PolicyText], schema: cedarpy.Schema) -> list[str]:
    result = cedarpy.validate_policies("\n".join(policy.text for policy in policies), schema)
    names = result.id_annotations_by_policy_id
    found = [f"policy {names.get(error.policy_id, error.policy_id)}: {error.error}" for error in result.errors]
    return found or ([] if result.validation_passed else ["the policies do not fit the schema"])


def _cut(text: str, limit: int) -> str:
    return text if len(text) * 4 <= limit else text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
