import array
import collections
import datetime as dt
import pickle
import pickletools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regaudit.checkpoints import pickles
from regaudit.checkpoints.pickles import Call, Global
from regaudit.errors import CorruptCheckpoint

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers(0, 9))
    ),
    max_leaves=20,
)


class Thing:
    """Pickled by class and attributes."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Reduced:
    """Pickled as any call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def load(raw):
    return pickles.load(raw, persistent=lambda key: ("persistent", key))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@given(value=PLAIN)
def test_plain_values_become_themselves(protocol, value):
    assert load(pickle.dumps(value, protocol)).value == value


@pytest.mark.parametrize("protocol", [0, 1])
@given(value=st.lists(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.text("abc [1]é")))
def test_text_protocols_are_read(protocol, value):
    ascii_only = [each for each in value if not isinstance(each, str) or each.isascii()]
    assert load(pickle.dumps(ascii_only, protocol)).value == ascii_only


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_object_becomes_a_record(protocol):
    pickled = load(pickle.dumps(Thing(rate=0.5, names=["a"]), protocol))
    assert isinstance(pickled.value, Call)
    assert pickled.value.state == {"rate": 0.5, "names": ["a"]}
    assert "Thing" in {each.name for each in pickled.globals}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_becomes_a_record_and_is_not_made(protocol):
    made = []
    pickled = load(pickle.dumps(Reduced(made.append, (1,)) if protocol > 3 else Reduced(print, ("x",)), protocol))
    assert isinstance(pickled.value, Call)
    assert made == []
    assert pickled.value in pickled.calls


class Outer:
    class Inner:
        pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nested_names_are_globals(protocol):
    pickled = load(pickle.dumps(Outer.Inner, protocol))
    assert pickled.value.name == "Outer.Inner"
    assert pickled.calls == ()


def test_a_new_object_is_no_call():
    assert load(pickle.dumps(Thing(), 2)).calls == ()


def test_items_and_entries_of_unknown_containers_are_kept():
    class Listing(list):
        def __reduce__(self):
            return Thing, (), None, iter([1, 2]), iter([("k", "v")])

    record = load(pickle.dumps(Listing(), 4)).value
    assert record.items == [1, 2]
    assert record.entries == {"k": "v"}


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, a=[1]),
        collections.deque([1, 2]),
        collections.Counter("aab"),
        bytearray(b"abc"),
        frozenset({1, 2}),
        b"\x00\xff",
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_containers_of_the_standard_library_become_plain_ones(value, protocol):
    found = load(pickle.dumps(value, protocol)).value
    assert found == (list(value) if isinstance(value, collections.deque) else value)


def test_other_standard_classes_stay_records():
    day = load(pickle.dumps(dt.date(2026, 1, 2), 4)).value
    assert (day.function.path, isinstance(day.args[0], bytes)) == ("datetime.date", True)
    assert isinstance(load(pickle.dumps(array.array("d", [1.0]), 4)).value, Call)


def test_sharing_and_cycles_are_kept():
    ring = []
    ring.append((ring, ring))
    found = load(pickle.dumps(ring, 4)).value
    assert found[0][0] is found
    shared = load(pickle.dumps([x := [1], x])).value
    assert shared[0] is shared[1]


def test_a_global_knows_its_place():
    raw = pickle.dumps(Reduced(print, ("x",)), 2)
    [found] = load(raw).globals
    assert (found.module.strip("_"), found.name) == ("builtin", "print") or found.path == "builtins.print"
    [place] = [at for opcode, _, at in pickletools.genops(raw) if opcode.name == "GLOBAL"]
    assert found.offset == place


def test_persistent_ids_are_handed_over():
    assert load(b"Pabc\n.").value == ("persistent", "abc")
    assert load(b"\x80\x02(K\x01K\x02tQ.").value == ("persistent", (1, 2))


def test_a_global_is_fit_to_be_printed():
    name = Global(module="evil\x1b[31m\n", name="x" * 1000, offset=0)
    assert name.path.isprintable()
    assert len(name.path) <= 200


def test_errors_say_where():
    with pytest.raises(CorruptCheckpoint, match=r"model\.pt: the pickle has the unknown opcode 0xff at byte 2"):
        pickles.load(b"\x80\x02\xff", persistent=str, where="model.pt")
