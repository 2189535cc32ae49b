"""What clients did to shared places and what they heard, and whether one order of it all explains that.

Each place is a register: it is absent or holds a value, and every value is written at most once. A history is linearizable (Herlihy
and Wing 1990) if every operation can be given a moment between its call and its answer such that one after the other they say what
was heard. The search is that of Wing and Gong as Lowe orders it ("Testing for linearizability", 2016): it goes through calls and
answers in time, keeps every state that the register may be in together with the open operations that have happened already, and
fails at the first answer that none of them explains. An operation whose outcome nobody knows never ends, and may happen at any
moment after its call or not at all.

Run as a program this checks itself by histories that are and are not linearizable.
"""

import dataclasses
import itertools
import threading
import time

ABSENT = None


@dataclasses.dataclass
class Operation:
    """`read` of `value`; `swap` of `base` (a value, or ABSENT) for `value`, held or not; `delete` of whatever is there."""

    kind: str
    called: float
    value: object = ABSENT
    base: object = ABSENT
    held: bool = True
    answered: float | None = None

    def after(self, state):
        """The states after it, when it happens in `state`; none where it could not have been answered so."""
        if self.kind == "read":
            return [state] if state == self.value else []
        if self.kind == "delete":
            return [ABSENT]
        if self.answered is None or self.held:
            return [self.value] if state == self.base else []
        return [state] if state != self.base else []


class History:
    """The operations on one place, by any number of threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.operations = []

    def call(self, kind, **what):
        operation = Operation(kind, time.monotonic(), **what)
        with self.lock:
            self.operations.append(operation)
        return operation

    def answer(self, operation, **heard):
        """What was heard; without an answer the outcome stays unknown."""
        for name, value in heard.items():
            setattr(operation, name, value)
        operation.answered = time.monotonic()

    def forget(self, operation):
        """It is known to have had no effect, and told nothing."""
        with self.lock:
            self.operations.remove(operation)

    def swaps(self):
        return sum(one.kind == "swap" and one.held and one.answered is not None for one in self.operations)

    def first_inexplicable(self):
        """The first operation whose answer no order explains, and the states that were possible; None when all is well."""
        return inexplicable([one for one in self.operations if one.kind != "read" or one.answered is not None])


def inexplicable(operations):
    ids = itertools.count()
    events = []
    for operation in operations:
        number = next(ids)
        events.append((operation.called, 0, number, operation))
        if operation.answered is not None:
            events.append((operation.answered, 1, number, operation))
    events.sort(key=lambda event: event[:3])
    # A configuration: the state, and which open operations have happened.
    configurations, open_ones = {(ABSENT, frozenset())}, {}
    for _, is_answer, number, operation in events:
        if not is_answer:
            open_ones[number] = operation
            continue
        reached, left = set(), list(configurations)
        seen = set(left)
        while left:
            state, happened = left.pop()
            if number in happened:
                reached.add((state, happened - {number}))
                continue
            for other, candidate in open_ones.items():
                if other in happened:
                    continue
                for following in candidate.after(state):
                    configuration = (following, happened | {other})
                    if configuration not in seen:
                        seen.add(configuration)
                        left.append(configuration)
        if not reached:
            return operation, {state for state, _ in configurations}
        configurations = reached
        del open_ones[number]
    return None


def check_itself():
    def read(called, answered, value):
        return Operation("read", called, value, answered=answered)

    def swap(called, answered, base, value, held=True):
        return Operation("swap", called, value, base, held, answered)

    def delete(called, answered):
        return Operation("delete", called, answered=answered)

    good = {
        "one after the other": [swap(0, 1, ABSENT, "a"), read(2, 3, "a"), swap(4, 5, "a", "b"), read(6, 7, "b")],
        "a read beside a write sees either": [swap(0, 9, ABSENT, "a"), read(1, 2, ABSENT), read(3, 4, "a")],
        "an unknown outcome that happened late": [swap(0, 1, ABSENT, "a"), swap(2, None, "a", "b"), read(3, 4, "a"), read(5, 6, "b")],
        "an unknown outcome that never happened": [swap(0, None, ABSENT, "a"), read(1, 2, ABSENT), swap(3, 4, ABSENT, "b")],
        "a swap that was refused": [swap(0, 1, ABSENT, "a"), swap(2, 3, ABSENT, "b", held=False), read(4, 5, "a")],
        "made again after a deletion": [swap(0, 1, ABSENT, "a"), delete(2, 3), swap(4, 5, ABSENT, "b"), read(6, 7, "b")],
    }
    bad = {
        "a stale read": [swap(0, 1, ABSENT, "a"), swap(2, 3, "a", "b"), read(4, 5, "a")],
        "two that replaced the same": [swap(0, 1, ABSENT, "a"), swap(2, 5, "a", "b"), swap(3, 6, "a", "c")],
        "a lost write": [swap(0, 1, ABSENT, "a"), read(2, 3, ABSENT)],
        "reads that go back": [swap(0, 9, ABSENT, "a"), read(1, 2, "a"), read(3, 4, ABSENT)],
        "refused without a reason": [swap(0, 1, ABSENT, "a"), swap(2, 3, "a", "b", held=False)],
        "a value from nowhere": [swap(0, 1, ABSENT, "a"), read(2, 3, "z")],
        "an unknown outcome that happened before its call": [read(0, 1, "a"), swap(2, None, ABSENT, "a")],
        "an unknown outcome that happened twice": [
            swap(0, None, ABSENT, "a"), read(1, 2, "a"), delete(3, 4), read(5, 6, ABSENT), read(7, 8, "a"),
        ],
    }
    for what, history in good.items():
        assert inexplicable(history) is None, f"{what}: {inexplicable(history)}"
    for what, history in bad.items():
        assert inexplicable(history) is not None, what
    print(f"{len(good)} histories are linearizable and {len(bad)} are not, as they should be")


if __name__ == "__main__":
    check_itself()
