"""A DCB application in the `eventsourcing` library's own style (slices, decisions, enduring ids) on our log.

The rule crosses two things, a student and a course, which is what a dynamic consistency boundary is for.
Serves C01, DC-01.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.domain import Selector, Slice
from eventsourcing.dcb.msgpack import Decision
from eventsourcing.domain import event
from eventsourcing.persistence import IntegrityError

from quarterdeck_ledger.recorder import LedgerRecorder


class StudentRegistered(Decision):
    """A student may join so many courses."""

    student_id: str
    max_courses: int


class CourseOpened(Decision):
    """A course has so many places."""

    course_id: str
    places: int


class StudentJoinedCourse(Decision):
    """A student took a place."""

    student_id: str
    course_id: str


class RegisterStudent(Slice[Decision]):
    """Register a student once."""

    def __init__(self, student_id: str, max_courses: int) -> None:
        self.student_id, self.max_courses = student_id, max_courses
        self.known = False

    def consistency_boundary(self) -> Selector:
        return Selector(types=[StudentRegistered], tags=[self.student_id])

    @event(StudentRegistered)
    def _(self) -> None:
        self.known = True

    def execute(self) -> None:
        if self.known:
            raise ValueError("registered already")
        self.trigger_event(
            StudentRegistered, tags=[self.student_id], student_id=self.student_id, max_courses=self.max_courses
        )


class OpenCourse(Slice[Decision]):
    """Open a course."""

    def __init__(self, course_id: str, places: int) -> None:
        self.course_id, self.places = course_id, places

    def consistency_boundary(self) -> Selector:
        return Selector(types=[CourseOpened], tags=[self.course_id])

    def execute(self) -> None:
        self.trigger_event(CourseOpened, tags=[self.course_id], course_id=self.course_id, places=self.places)


class JoinCourse(Slice[Decision]):
    """Take a place, if the course and the student both have one left."""

    def __init__(self, student_id: str, course_id: str) -> None:
        self.student_id, self.course_id = student_id, course_id
        self.max_courses = self.places = 0
        self.joined = 0
        self.taken = 0

    def consistency_boundary(self) -> list[Selector]:
        return [Selector(tags=[self.student_id]), Selector(tags=[self.course_id])]

    @event(StudentRegistered)
    def _(self, max_courses: int) -> None:
        self.max_courses = max_courses

    @event(CourseOpened)
    def _(self, places: int) -> None:
        self.places = places

    @event(StudentJoinedCourse)
    def _(self, student_id: str, course_id: str) -> None:
        self.joined += student_id == self.student_id
        self.taken += course_id == self.course_id

    def execute(self) -> None:
        if self.joined >= self.max_courses:
            raise ValueError("the student is full")
        if self.taken >= self.places:
            raise ValueError("the course is full")
        self.trigger_event(
            StudentJoinedCourse,
            tags=[self.student_id, self.course_id],
            student_id=self.student_id,
            course_id=self.course_id,
        )


class Enrolment(DCBApplication):
    """The application: the library's, but for where it keeps its events."""

    env = {
        "PERSISTENCE_MODULE": "quarterdeck_ledger.recorder",
        "MAPPER_TOPIC": "eventsourcing.dcb.msgpack:MessagePackMapper",
    }


@pytest.fixture
def enrolment(migrated_database: Callable[[], str]) -> Iterator[Enrolment]:
    """The application on a fresh log."""
    application = Enrolment({"QUARTERDECK_LEDGER_URL": migrated_database(), "QUARTERDECK_LEDGER_TENANT": "school"})
    yield application
    assert isinstance(application.recorder, LedgerRecorder)
    application.recorder.close()


def test_rules_hold_across_both_sides(enrolment: Enrolment) -> None:
    """Neither the student's nor the course's limit can be passed."""
    enrolment.do(RegisterStudent("ada", max_courses=1))
    enrolment.do(RegisterStudent("bob", max_courses=5))
    enrolment.do(OpenCourse("logic", places=2))
    enrolment.do(OpenCourse("poetry", places=1))
    enrolment.do(JoinCourse("ada", "logic"))
    enrolment.do(JoinCourse("bob", "poetry"))
    with pytest.raises(ValueError, match="the student is full"):
        enrolment.do(JoinCourse("ada", "poetry"))
    enrolment.do(RegisterStudent("cyd", max_courses=5))
    with pytest.raises(ValueError, match="the course is full"):
        enrolment.do(JoinCourse("cyd", "poetry"))
    with pytest.raises(ValueError, match="registered already"):
        enrolment.do(RegisterStudent("ada", max_courses=9))


def test_two_at_once_for_the_last_place(enrolment: Enrolment) -> None:
    """Sixteen students race for three places: three get one, whoever is refused is told why."""
    enrolment.do(OpenCourse("logic", places=3))
    names = [f"student-{number}" for number in range(16)]
    for name in names:
        enrolment.do(RegisterStudent(name, max_courses=1))
    results: list[str] = []

    def join(name: str) -> None:
        while True:
            try:
                enrolment.do(JoinCourse(name, "logic"))
            except IntegrityError:
                continue
            except ValueError as error:
                results.append(str(error))
            else:
                results.append("joined")
            return

    threads = [threading.Thread(target=join, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["joined"] * 3 + ["the course is full"] * 13
