"""The innermost loop of the fused kernels, in vectors of 8 float64 or 16 float32.

`weigh` and `weigh_single` run through a block of points for one query: logits
to base 2, their exponentials, and the weighted sums, all in registers; `scatter`
does so for moments about the mean, `centred` and `gram` for covariances. They are
written for LLVM itself, because a compiler that is left to find the vectors
spills them from three dimensions on and finds none from sixteen on. The numbers
of lanes are fixed, whatever the machine, and so are all results.

2^t is 2^n p(f) with n = round(t), f = t - n in [-½, ½] and a polynomial p:

- n comes from adding and subtracting 1.5·2⁵² (1.5·2²³), whose last bits then
  hold n; these are added to the exponent of p(f);
- p is the minimax polynomial of 2^f in relative error, of degree 10, off by
  2.1e-16 (degree 6, off by 1.9e-9 beside its rounded coefficients);
- logits are held to at most `CEILING`; below `FLOOR` the result is exactly 0.

With the roundings of its evaluation 2^t is right to 5 (3) units in the last place.

If Numba's or LLVM's interface is not the one known here, or the environment
variable ANALYTIC_PLAIN_KERNELS is set, the same functions are ordinary Numba
loops: slower, and equal up to rounding; with NUMBA_DISABLE_JIT=1 they are Python.
"""

from __future__ import annotations

import numpy as np

from . import _jit
from ._jit import strict

try:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.cpython.unsafe.tuple import tuple_setitem
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array
except ImportError:  # pragma: no cover - these are Numba's own parts, and may move
    ir = None

LANES, LANES_SINGLE = 8, 16
"""Points that are handled at a time; arrays of points end in as many spare columns."""

BLOCK = 512
"""Points that may be weighed in one call."""

HELD = 6
"""Dimensions whose numbers stay in registers at a time (twice as many in float32)."""

CEILING, CEILING_SINGLE = 866.0, 60.0
"""Logits to base 2 are held to this."""

FLOOR, FLOOR_SINGLE = -900.0, -90.0
"""Below this a weight is zero: products of weights and coordinates then stay normal numbers."""

POLYNOMIAL = (
    1.0,
    0.6931471805599497,
    0.24022650695908768,
    0.05550410866445883,
    0.00961812910803459,
    0.0013333558228561476,
    0.00015403529961135955,
    1.5252658116561384e-05,
    1.3215662831846104e-06,
    1.0208537904552164e-07,
    7.037279530582804e-09,
)
POLYNOMIAL_SINGLE = tuple(
    float(np.float32(c))
    for c in (
        1.0000000005541647,
        0.6931472057371958,
        0.24022646890645522,
        0.05550328777105325,
        0.009618488956331182,
        0.0013399931177239738,
        0.00015345812161311629,
    )
)


class _Real:
    """Code on scalars or vectors of one float type, and what 2^t needs of that type."""

    def __init__(self, builder, bits, lanes):
        single = bits == 32
        self.builder, self.lanes = builder, lanes
        self.scalar = ir.FloatType() if single else ir.DoubleType()
        self.type = ir.VectorType(self.scalar, lanes) if lanes else self.scalar
        whole = ir.IntType(bits)
        self.whole = ir.VectorType(whole, lanes) if lanes else whole
        self.mantissa = 23 if single else 52
        self.polynomial = POLYNOMIAL_SINGLE if single else POLYNOMIAL
        self.ceiling = CEILING_SINGLE if single else CEILING
        self.floor = FLOOR_SINGLE if single else FLOOR

    def constant(self, value, kind=None):
        kind = kind or self.type
        return ir.Constant(kind, [value] * self.lanes if self.lanes else value)

    def spread(self, value):
        """A scalar in all lanes."""
        b, undefined = self.builder, ir.Constant(self.type, ir.Undefined)
        one = b.insert_element(undefined, value, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return b.shuffle_vector(one, undefined, zeros)

    def load(self, pointer, index):
        """Consecutive numbers from pointer[index] on."""
        b = self.builder
        where = b.bitcast(b.gep(pointer, [index]), self.type.as_pointer())
        return b.load(where, align=self.mantissa // 23 * 4)

    def fma(self, x, y, z):
        """x y + z, in one rounding where the machine can."""
        b = self.builder
        return b.fadd(b.fmul(x, y, flags=("contract",)), z, flags=("contract",))

    def sum(self, terms):
        """Of one or two terms."""
        return self.builder.fadd(*terms) if len(terms) == 2 else terms[0]

    def horner(self, coefficients, x):
        *rest, found = (self.constant(c) for c in coefficients)
        for c in reversed(rest):
            found = self.fma(found, x, c)
        return found

    def exp2(self, t):
        """2^t: see the head of this file.

        Numba gives the flags of a function to all its operations that have none. Those of
        (t + M) - M have one that does nothing, so that no `reassoc` cancels them.
        """
        b = self.builder
        low = b.fcmp_ordered("<", t, self.constant(self.ceiling))
        t = b.select(low, t, self.constant(self.ceiling))
        magic = self.constant(1.5 * 2.0**self.mantissa)
        kept = ("nsz",)
        rounded = b.fadd(t, magic, flags=kept)
        f = b.fsub(t, b.fsub(rounded, magic, flags=kept), flags=kept)
        square = b.fmul(f, f)
        even = self.horner(self.polynomial[0::2], square)
        odd = self.horner(self.polynomial[1::2], square)
        p = self.fma(odd, f, even)
        n = b.shl(b.bitcast(rounded, self.whole), self.constant(self.mantissa, self.whole))
        found = b.add(b.bitcast(p, self.whole), n)
        high = b.fcmp_ordered(">", t, self.constant(self.floor))
        return b.bitcast(b.select(high, found, self.constant(0, self.whole)), self.type)

    def store(self, value, pointer, index):
        b = self.builder
        where = b.bitcast(b.gep(pointer, [index]), self.type.as_pointer())
        b.store(value, where, align=self.mantissa // 23 * 4)

    def totals(self, vectors):
        """The sum of the lanes of each of at most `lanes` vectors, then zeros, in the lanes of one.

        Neighbouring lanes are added, those of two vectors at once: the same on every machine.
        """
        b, lanes = self.builder, self.lanes
        vectors = [*vectors, *[self.constant(0.0)] * (lanes - len(vectors))]
        index = ir.VectorType(ir.IntType(32), lanes)
        masks = [ir.Constant(index, list(range(k, 2 * lanes, 2))) for k in (0, 1)]
        for _ in range(lanes.bit_length() - 1):
            pairs = zip(vectors[0::2], vectors[1::2], strict=True)
            vectors = [b.fadd(*(b.shuffle_vector(*pair, mask) for mask in masks)) for pair in pairs]
        return vectors[0]


class _Pass:
    """Code that runs through the points of a block, `lanes` at a time, with some numbers each."""

    def __init__(self, real, first, last, numbers=1):
        b, self.real = real.builder, real
        self.first, self.last = first, last
        size = ir.IntType(64)(BLOCK)
        self.all = [cgutils.alloca_once(b, real.scalar, size=size) for _ in range(numbers)]
        self.kept = self.all[0]

    def at(self, i):
        """The kept numbers of points from i on."""
        place = self.real.builder.sub(i, self.first)
        return [self.real.load(kept, place) for kept in self.all]

    def keep(self, i, *values):
        """Replace the first of them."""
        place = self.real.builder.sub(i, self.first)
        for value, kept in zip(values, self.all, strict=False):
            self.real.store(value, kept, place)

    def each(self, step):
        """Keep step(i, kept numbers) of all points, one or several, or nothing where it is None."""
        b = self.real.builder
        index = ir.IntType(64)
        with cgutils.for_range_slice(b, self.first, self.last, index(self.real.lanes), index) as (
            i,
            _,
        ):
            found = step(i, *self.at(i))
            if found is not None:
                self.keep(i, *(found if isinstance(found, tuple) else (found,)))

    def end(self, value):
        """Set the kept numbers of lanes beyond the last point to a value."""
        b, real = self.real.builder, self.real
        count = b.sub(self.last, self.first)
        rest = b.and_(count, count.type(real.lanes - 1))
        with b.if_then(b.icmp_signed(">", rest, rest.type(0))):
            place = b.sub(count, rest)
            kept = real.load(self.kept, place)
            real.store(b.select(self._inside(rest), kept, real.constant(value)), self.kept, place)

    def least(self, value):
        """The least value(i, kept number)."""
        b, real = self.real.builder, self.real
        place = cgutils.alloca_once_value(b, real.constant(np.inf))
        b.store(real.constant(np.inf), place)

        def lower(a, c):
            return b.select(b.fcmp_ordered("<", a, c), a, c)

        def step(i, kept):
            b.store(lower(value(i, kept), b.load(place)), place)

        self.each(step)
        lanes = [b.extract_element(b.load(place), ir.IntType(32)(k)) for k in range(real.lanes)]
        while len(lanes) > 1:
            lanes = [lower(*pair) for pair in zip(lanes[0::2], lanes[1::2], strict=True)]
        return lanes[0]

    def gather(self, count, terms, add):
        """Hand the sums of `count` products to `add`, some at a time.

        terms(i, within) are their pairs of factors, (w, None) for w itself; one factor of each
        has gone through `within`, which is zero beyond the last point.
        """
        b, real = self.real.builder, self.real
        places = [cgutils.alloca_once(b, real.type) for _ in range(count)]
        for place in places:
            b.store(real.constant(0.0), place)

        def step(i, within):
            for place, (w, y) in zip(places, terms(i, within), strict=True):
                old = b.load(place)
                b.store(b.fadd(old, w) if y is None else real.fma(w, y, old), place)

        index = ir.IntType(64)
        rest = b.and_(b.sub(self.last, self.first), index(real.lanes - 1))
        full = b.sub(self.last, rest)
        with cgutils.for_range_slice(b, self.first, full, index(real.lanes), index) as (i, _):
            step(i, lambda w: w)
        with b.if_then(b.icmp_signed(">", rest, index(0))):
            inside = self._inside(rest)
            step(full, lambda w: b.select(inside, w, real.constant(0.0)))
        for start in range(0, count, real.lanes):
            add(start, real.totals([b.load(place) for place in places[start : start + real.lanes]]))

    def _inside(self, count):
        """Which lanes are below a count."""
        b, real = self.real.builder, self.real
        lanes = ir.Constant(ir.VectorType(count.type, real.lanes), list(range(real.lanes)))
        many = ir.Constant(lanes.type, ir.Undefined)
        for lane in range(real.lanes):
            many = b.insert_element(many, count, ir.IntType(32)(lane))
        return b.icmp_signed("<", lanes, many)

    def sums(self, factors, add):
        """Hand Σ w y of all factor functions to `add`, Σ w for None, some at a time."""
        b, real = self.real.builder, self.real
        for start in range(0, len(factors), real.lanes):
            mine = factors[start : start + real.lanes]
            places = [cgutils.alloca_once_value(b, real.constant(0.0)) for _ in mine]
            for place in places:
                b.store(real.constant(0.0), place)

            def step(i, w, *_, mine=mine, places=places):
                for place, y in zip(places, mine, strict=True):
                    old = b.load(place)
                    b.store(b.fadd(old, w) if y is None else real.fma(w, y(i), old), place)

            self.each(step)
            add(start, real.totals([b.load(place) for place in places]))


class _Logits:
    """Code for the log-weights of points, from the first eleven arguments of `weigh`."""

    def __init__(self, context, real, kinds, args):
        b, dim = real.builder, len(kinds[0])
        rows = _rows(context, b, kinds[1], args[1], dim)
        none = isinstance(kinds[2], types.NoneType)
        self.real, self.logs = real, None if none else _numbers(context, b, kinds[2], args[2])
        at = _spreads(real, _numbers(context, b, kinds[5], args[5], args[7]), dim)
        self.twice = _spreads(real, _numbers(context, b, kinds[6], args[6], args[7]), dim)
        self.half, self.inv, self.base = (real.spread(v) for v in args[8:11])
        self.e = [lambda i, d=d: b.fsub(real.load(rows[d], i), at[d]) for d in range(dim)]

    def gap(self, i, gap, dims):
        """The gap with that of some dimensions."""
        for d in dims:
            e = self.e[d](i)
            beyond = self.real.builder.fsub(e, self.twice[d])
            gap = self.real.fma(e, beyond, gap) if d else self.real.builder.fmul(e, beyond)
        return gap

    def bits(self, i, gap):
        """log2 w."""
        b = self.real.builder
        fall = b.fmul(b.fmul(gap, self.half), self.inv)
        if self.logs is None:
            return b.fneg(fall)
        return b.fsub(b.fsub(self.real.load(self.logs, i), self.base), fall)


def _adder(real, pointer, offset=0):
    """What adds to numbers from pointer[offset] on."""
    b = real.builder

    def add(start, totals):
        place = ir.IntType(64)(offset + start)
        real.store(b.fadd(real.load(pointer, place), totals), pointer, place)

    return add


def _parts(dim, held):
    """Dimensions, so many at a time."""
    return [range(d, min(d + held, dim)) for d in range(0, dim, held)]


def _widest(builder):
    """Ask for the widest vectors in the function that is being compiled."""
    attributes = builder.function.attributes
    texts = {'"prefer-vector-width"="512"', '"min-legal-vector-width"="512"'}
    attributes._known = attributes._known | texts
    for text in sorted(texts):
        attributes.add(text)


def _numbers(context, builder, kind, value, row=None):
    """Pointer to the first number of an array, or of a row of it."""
    array = make_array(kind)(context, builder, value)
    if row is None:
        return array.data
    width = cgutils.unpack_tuple(builder, array.shape)[-1]
    return builder.gep(array.data, [builder.mul(row, width)])


def _rows(context, builder, kind, value, dim):
    """Pointers to the rows of an array (D, columns)."""
    points = _numbers(context, builder, kind, value)
    columns = cgutils.unpack_tuple(builder, make_array(kind)(context, builder, value).shape)[1]
    return [builder.gep(points, [builder.mul(columns, columns.type(d))]) for d in range(dim)]


def _spreads(real, pointer, dim):
    """The first `dim` numbers of a row, each in all lanes."""
    b, index = real.builder, ir.IntType(64)
    return [real.spread(b.load(b.gep(pointer, [index(d)]))) for d in range(dim)]


def _works():
    """Whether code can be written: tried on a function that is then thrown away."""
    if _jit.PLAIN or ir is None:
        return False
    try:
        kind = ir.FunctionType(ir.VoidType(), [ir.DoubleType()])
        function = ir.Function(ir.Module(), kind, "trial")
        builder = ir.IRBuilder(function.append_basic_block())
        real = _Real(builder, 64, LANES)
        _widest(builder)
        real.totals([real.exp2(real.spread(function.args[0]))] * 3)
        str(function)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return False
    return True


PLAIN = not _works()
"""Whether the functions below are ordinary Numba loops."""

if _jit.PYTHON:

    def tuple_setitem(values, place, value):  # type: ignore[misc]
        """The tuple with one value replaced."""
        return (*values[:place], value, *values[place + 1 :])


if not PLAIN:

    def _points(zeros, X, L, near, twice):
        """Types of what `weigh` and its like begin with: points, block, query and its level."""
        index, real = types.intp, types.float64
        return zeros, X, L, index, index, near, twice, index, real, real, real

    @intrinsic
    def exp2(typing, t):
        """2^t of a float64 or float32."""

        def code(context, builder, signature, args):
            return _Real(builder, t.bitwidth, 0).exp2(args[0])

        return t(t), code

    @intrinsic
    def wide(typing):
        """Ask for the widest vectors in the function that calls this."""

        def code(context, builder, signature, args):
            _widest(builder)
            return context.get_dummy_value()

        return types.void(), code

    @intrinsic
    def weigh(typing, zeros, X, L, first, last, near, twice, row, half, inv, base, out):
        """Add Σ w and Σ w (x_i - x_r), over first ≤ i < last, to out[row] (D + 1).

        log2 w = (L_i - base) - (gap half) inv, gap = Σ_d e_d (e_d - twice_d), e = x_i - x_r,
        with x_r = near[row] and 2(x - x_r) = twice[row]. X is (D, columns), with `LANES`
        columns to spare; L is (columns,), or None for no log-weights; `zeros` is a tuple
        of D zeros, which tells the compiler what D is.
        """
        dim = len(zeros)

        def code(context, builder, signature, args):
            real = _Real(builder, 64, LANES)
            _widest(builder)
            logits = _Logits(context, real, signature.args, args)
            run = _Pass(real, args[3], args[4])
            add = _adder(real, _numbers(context, builder, out, args[11], args[7]))

            def terms(i, within):
                w = within(real.exp2(logits.bits(i, logits.gap(i, None, range(dim)))))
                return [(w, None), *((w, e(i)) for e in logits.e)]

            if dim <= HELD:
                run.gather(1 + dim, terms, add)
                return context.get_dummy_value()
            for dims in _parts(dim, HELD):

                def step(i, gap, dims=dims):
                    gap = logits.gap(i, gap, dims)
                    return gap if dims.stop < dim else real.exp2(logits.bits(i, gap))

                run.each(step)
            run.end(0.0)
            run.sums([None, *logits.e], add)
            return context.get_dummy_value()

        return types.void(*_points(zeros, X, L, near, twice), out), code

    @intrinsic
    def turn(typing, zeros, X, L, first, last, near, twice, row, half, inv, base, out):
        """Add Σ w, Σ w e, Σ w e_a e_b for a ≤ b, and Σ w |e|² e to out[row], side by side.

        Up to `HELD` / 2 dimensions; all else as for `weigh`.
        """
        dim = len(zeros)

        def code(context, builder, signature, args):
            b, real = builder, _Real(builder, 64, LANES)
            _widest(b)
            logits = _Logits(context, real, signature.args, args)
            run = _Pass(real, args[3], args[4])

            def terms(i, within):
                e = [each(i) for each in logits.e]
                w = within(real.exp2(logits.bits(i, logits.gap(i, None, range(dim)))))
                we = [b.fmul(w, y) for y in e]
                cubic = b.fmul(we[0], e[0])
                for d in range(1, dim):
                    cubic = real.fma(we[d], e[d], cubic)
                products = [(we[a], e[d]) for a in range(dim) for d in range(a, dim)]
                return [
                    (w, None),
                    *((each, None) for each in we),
                    *products,
                    *((cubic, y) for y in e),
                ]

            count = 1 + 2 * dim + dim * (dim + 1) // 2
            run.gather(count, terms, _adder(real, _numbers(context, b, out, args[11], args[7])))
            return context.get_dummy_value()

        index, real = types.intp, types.float64
        return types.void(
            zeros, X, L, index, index, near, twice, index, real, real, real, out
        ), code

    @intrinsic
    def scatter(
        typing, zeros, X, L, first, last, near, twice, row, half, inv, base, centre, v, third, out
    ):
        """Add Σ w, Σ w|y|², Σ w log2 w and Σ w (third |y|² + y·v) y to out[row] (D + 3).

        y = x_i - x_r - centre[row], v = v[row] and the rest as for `weigh`. Where v is None, the
        last D sums are left out. Rows of `out` have `LANES` columns to spare, which get zeros.
        """
        dim, pulled = len(zeros), not isinstance(v, types.NoneType)

        def code(context, builder, signature, args):
            b, real = builder, _Real(builder, 64, LANES)
            _widest(b)
            logits = _Logits(context, real, signature.args, args)
            run = _Pass(real, args[3], args[4], 3)
            middle = _spreads(real, _numbers(context, b, centre, args[11], args[7]), dim)
            y = [lambda i, d=d: b.fsub(logits.e[d](i), middle[d]) for d in range(dim)]
            way = _spreads(real, _numbers(context, b, v, args[12], args[7]), dim) if pulled else y
            cubic = real.spread(args[13])
            found = _numbers(context, b, out, args[14], args[7])

            def look(i, gap, square, along, dims):
                gap = logits.gap(i, gap, dims)
                for d in dims:
                    here = y[d](i)
                    square = real.fma(here, here, square) if d else b.fmul(here, here)
                    if pulled:
                        along = real.fma(here, way[d], along) if d else b.fmul(here, way[d])
                return gap, square, along

            def terms(i, within):
                seen = look(i, None, None, None, range(dim)) if dim <= HELD else run.at(i)
                t = logits.bits(i, seen[0])
                w = within(real.exp2(t))
                floor = real.constant(FLOOR)
                t = b.select(b.fcmp_ordered(">", t, floor), t, floor)
                squares = b.fmul(w, seen[1])
                scalars = [(w, None), (squares, None), (w, t)]
                if not pulled:
                    return scalars
                pull = real.fma(cubic, squares, b.fmul(w, seen[2]))
                if dim > HELD:
                    run.keep(i, pull)
                    return scalars
                return [*scalars, *((pull, each(i)) for each in y)]

            if dim > HELD:
                for dims in _parts(dim, HELD):
                    run.each(lambda i, *kept, dims=dims: look(i, *kept, dims))
            held = pulled and dim <= HELD
            run.gather(3 + dim if held else 3, terms, _adder(real, found))
            if pulled and not held:
                run.sums(y, _adder(real, found, 3))
            return context.get_dummy_value()

        return types.void(*_points(zeros, X, L, near, twice), centre, v, types.float64, out), code

    @intrinsic
    def centred(
        typing, zeros, X, L, first, last, near, twice, row, half, inv, base, centre, rows, out
    ):
        """Write w to rows[0] and y to the D rows after it, and add Σ w to out[row, 0].

        As for `scatter`. Beyond the last point w is zero up to a whole vector.
        """
        dim = len(zeros)

        def code(context, builder, signature, args):
            b, real = builder, _Real(builder, 64, LANES)
            _widest(b)
            logits = _Logits(context, real, signature.args, args)
            run = _Pass(real, args[3], args[4])
            middle = _spreads(real, _numbers(context, b, centre, args[11], args[7]), dim)
            places = _rows(context, b, rows, args[12], dim + 1)

            def look(i, gap, dims):
                place = b.sub(i, run.first)
                for d in dims:
                    real.store(b.fsub(logits.e[d](i), middle[d]), places[1 + d], place)
                return logits.gap(i, gap, dims)

            def terms(i, within):
                w = within(real.exp2(logits.bits(i, run.at(i)[0])))
                real.store(w, places[0], b.sub(i, run.first))
                return [(w, None)]

            for dims in _parts(dim, HELD):
                run.each(lambda i, gap, dims=dims: look(i, gap, dims))
            run.gather(1, terms, _adder(real, _numbers(context, b, out, args[13], args[7])))
            return context.get_dummy_value()

        return types.void(*_points(zeros, X, L, near, twice), centre, rows, out), code

    @intrinsic
    def gram(typing, rows, dim, count, row, out):
        """Add Σ w y_a y_d of the first `count` columns of `centred` rows to out[row, 8 + a P + d].

        There are 1 + P rows, P a multiple of `LANES` and y zero from row 1 + `dim` on. All
        a ≤ d are summed, and some others.
        """

        def code(context, builder, signature, args):
            b, real, index = builder, _Real(builder, 64, LANES), ir.IntType(64)
            _widest(b)
            shape = cgutils.unpack_tuple(b, make_array(rows)(context, b, args[0]).shape)
            weights = _numbers(context, b, rows, args[0])
            found = b.gep(_numbers(context, b, out, args[4], args[3]), [index(LANES)])
            pitch = b.sub(shape[0], index(1))
            pair = [[cgutils.alloca_once(b, real.type) for _ in range(LANES)] for _ in range(2)]

            def y(d, j):
                return b.gep(weights, [b.mul(shape[1], b.add(d, index(1 + j)))])

            def add(i, ones, others):
                for one, sums in zip(ones, pair, strict=True):
                    w = b.fmul(real.load(weights, i), real.load(one, i))
                    for place, other in zip(sums, others, strict=True):
                        b.store(real.fma(w, real.load(other, i), b.load(place)), place)

            with cgutils.for_range_slice(b, index(0), args[1], index(LANES), index) as (d, _):
                others = [y(d, j) for j in range(LANES)]
                last = b.add(d, index(LANES))
                last = b.select(b.icmp_signed("<", last, args[1]), last, args[1])
                with cgutils.for_range_slice(b, index(0), last, index(2), index) as (a, _):
                    for place in (*pair[0], *pair[1]):
                        b.store(real.constant(0.0), place)
                    ones = [y(a, k) for k in range(2)]
                    with cgutils.for_range_slice(b, index(0), args[2], index(LANES), index) as (
                        i,
                        _,
                    ):
                        add(i, ones, others)
                    for k, sums in enumerate(pair):
                        at = b.gep(found, [b.add(b.mul(b.add(a, index(k)), pitch), d)])
                        _adder(real, at)(0, real.totals([b.load(each) for each in sums]))
            return context.get_dummy_value()

        size = types.intp
        return types.void(rows, size, size, size, out), code

    @intrinsic
    def least(typing, zeros, X, L, first, last, Q, row, lift, best, index):
        """Replace best[0] by the least |x - x_i|² - lift L_i over first ≤ i < last, if less.

        Its i, the first of equals, is then written to index[0]. X and L as for `weigh`, x = Q[row].
        """
        dim = len(zeros)

        def code(context, builder, signature, args):
            b, real = builder, _Real(builder, 64, LANES)
            _widest(b)
            start, stop, k = args[3], args[4], args[6]
            rows = _rows(context, b, X, args[1], dim)
            at = _spreads(real, _numbers(context, b, Q, args[5], k), dim)
            logs = None if isinstance(L, types.NoneType) else _numbers(context, b, L, args[2])
            lifts = real.spread(args[7])
            run = _Pass(real, start, stop)

            def key(i, _):
                found = real.constant(0.0)
                if logs is not None:
                    found = b.fneg(b.fmul(lifts, real.load(logs, i)))
                for d in range(dim):
                    gap = b.fsub(real.load(rows[d], i), at[d])
                    found = real.fma(gap, gap, found)
                return found

            run.each(key)
            run.end(np.inf)
            found = run.least(lambda i, kept: kept)
            record = _numbers(context, b, best, args[8])
            with b.if_then(b.fcmp_ordered("<", found, b.load(record))):
                b.store(found, record)
                lanes = ir.Constant(real.type, [float(lane) for lane in range(LANES)])

                def where(i, kept):
                    here = b.fcmp_ordered("==", kept, real.spread(found))
                    i = b.fadd(real.spread(b.sitofp(i, real.scalar)), lanes)
                    return b.select(here, i, real.constant(np.inf))

                place = b.fptosi(run.least(where), start.type)
                b.store(place, _numbers(context, b, index, args[9]))
            return context.get_dummy_value()

        size = types.intp
        return types.void(zeros, X, L, size, size, Q, size, types.float64, best, index), code

    @intrinsic
    def weigh_single(typing, zeros, Y, block, row, slope, kappa, base, weighted, out):
        """Σ w and Σ w y_i over a block of points into out[row], in float32.

        log2 w = ((Σ_d slope[row]_d y_d - kappa n_i) + base) + l_i, the first sum in groups of
        four that are added in pairs, so that few roundings meet. Y is (blocks, rows, columns):
        row 0 has n_i, rows 1 to D have y_i, and row D + 1 has l_i, which is left out where
        `weighted` is None. The number of columns is a multiple of `LANES_SINGLE`.
        """
        dim = len(zeros)

        def code(context, builder, signature, args):
            b, real = builder, _Real(builder, 32, LANES_SINGLE)
            _widest(b)
            shape = cgutils.unpack_tuple(b, make_array(Y)(context, b, args[1]).shape)
            first = b.mul(args[2], b.mul(shape[1], shape[2]))
            block_points = b.gep(_numbers(context, b, Y, args[1]), [first])
            rows = [
                b.gep(block_points, [b.mul(shape[2], shape[2].type(j))]) for j in range(dim + 2)
            ]
            slopes = _spreads(real, _numbers(context, b, slope, args[4], args[3]), dim)
            fall, level = real.spread(b.fneg(args[5])), real.spread(args[6])
            run = _Pass(real, shape[2].type(0), shape[2])
            y = [lambda i, d=d: real.load(rows[1 + d], i) for d in range(dim)]

            for d0 in range(0, dim, 2 * HELD):
                ends = d0 + 2 * HELD >= dim

                def step(i, t, d0=d0, ends=ends):
                    parts = [] if d0 else [b.fmul(real.load(rows[0], i), fall)]
                    for d in range(d0, min(d0 + 2 * HELD, dim), 4):
                        part = b.fmul(slopes[d], y[d](i))
                        for e in range(d + 1, min(d + 4, d0 + 2 * HELD, dim)):
                            part = real.fma(slopes[e], y[e](i), part)
                        parts.append(part)
                    while len(parts) > 1:
                        parts = [real.sum(parts[k : k + 2]) for k in range(0, len(parts), 2)]
                    t = parts[0] if d0 == 0 else b.fadd(t, parts[0])
                    if not ends:
                        return t
                    t = b.fadd(t, level)
                    if not isinstance(weighted, types.NoneType):
                        t = b.fadd(t, real.load(rows[dim + 1], i))
                    return real.exp2(t)

                if dim > 2 * HELD:
                    run.each(step)
            found = _numbers(context, b, out, args[8], args[3])

            def put(start, totals):
                real.store(totals, found, ir.IntType(64)(start))

            def terms(i, within):
                w = within(step(i, None))
                return [(w, None), *((w, each(i)) for each in y)]

            if dim <= 2 * HELD:
                run.gather(1 + dim, terms, put)
            else:
                run.sums([None, *y], put)
            return context.get_dummy_value()

        real = types.float32
        index = types.intp
        return types.void(zeros, Y, index, index, slope, real, real, weighted, out), code

    @intrinsic
    def contract(typing, A, j, f, g, d, out, jo, ko):
        """out[jo, r] = Σ_k A[j, r, k] f[d, k] and out[ko, r] = Σ_k A[j, r, k] g[d, k], all r.

        There are a multiple of four r, and of `LANES` k.
        """

        def code(context, builder, signature, args):
            b, real = builder, _Real(builder, 64, LANES)
            _widest(b)
            shape = cgutils.unpack_tuple(b, make_array(A)(context, b, args[0]).shape)
            size = b.mul(shape[1], shape[2])
            first = b.gep(_numbers(context, b, A, args[0]), [b.mul(args[1], size)])
            factors = [_numbers(context, b, f, args[k], args[4]) for k in (2, 3)]
            targets = [_numbers(context, b, out, args[5], args[k]) for k in (6, 7)]
            index = ir.IntType(64)
            places = [cgutils.alloca_once(b, real.type) for _ in range(8)]
            with cgutils.for_range_slice(b, index(0), shape[1], index(4), index) as (r, _):
                for place in places:
                    b.store(real.constant(0.0), place)
                rows = [b.gep(first, [b.mul(b.add(r, index(k)), shape[2])]) for k in range(4)]
                lanes = index(real.lanes)
                with cgutils.for_range_slice(b, index(0), shape[2], lanes, index) as (k, _):
                    both = [real.load(factor, k) for factor in factors]
                    for n, place in enumerate(places):
                        a = real.load(rows[n % 4], k)
                        b.store(real.fma(a, both[n // 4], b.load(place)), place)
                found = real.totals([b.load(place) for place in places])
                for n in range(8):
                    where = b.gep(targets[n // 4], [b.add(r, index(n % 4))])
                    b.store(b.extract_element(found, ir.IntType(32)(n)), where)
            return context.get_dummy_value()

        index = types.intp
        return types.void(A, index, f, g, index, out, index, index), code

else:

    @strict
    def _power(t, ceiling, floor):
        t = t if t < ceiling else ceiling
        return 2.0**t if t > floor else 0.0

    @strict
    def exp2(t):
        """2^t of a float64."""
        return _power(t, CEILING, FLOOR)

    @strict
    def wide():
        """Nothing."""

    @strict
    def weigh(zeros, X, L, first, last, near, twice, row, half, inv, base, out):
        """Add Σ w and Σ w (x_i - x_r), over first ≤ i < last, to out[row] (D + 1)."""
        for i in range(first, last):
            t = _bits(zeros, X, L, i, near, twice, row, half, inv, base)
            w = _power(t, CEILING, FLOOR)
            out[row, 0] += w
            for d in range(len(zeros)):
                out[row, 1 + d] += w * (X[d, i] - near[row, d])

    @strict
    def _bits(zeros, X, L, i, near, twice, row, half, inv, base):
        """log2 w."""
        gap = 0.0
        for d in range(len(zeros)):
            e = X[d, i] - near[row, d]
            gap += e * (e - twice[row, d])
        t = -((gap * half) * inv)
        if L is not None:
            t += L[i] - base
        return t

    @strict
    def turn(zeros, X, L, first, last, near, twice, row, half, inv, base, out):
        """Add Σ w, Σ w e, Σ w e_a e_b for a ≤ b, and Σ w |e|² e to out[row]."""
        dim = len(zeros)
        for i in range(first, last):
            w = _power(_bits(zeros, X, L, i, near, twice, row, half, inv, base), CEILING, FLOOR)
            out[row, 0] += w
            cubic, place = 0.0, 1 + dim
            for a in range(dim):
                we = w * (X[a, i] - near[row, a])
                out[row, 1 + a] += we
                cubic += we * (X[a, i] - near[row, a])
                for d in range(a, dim):
                    out[row, place] += we * (X[d, i] - near[row, d])
                    place += 1
            for d in range(dim):
                out[row, place + d] += cubic * (X[d, i] - near[row, d])

    @strict
    def scatter(zeros, X, L, first, last, near, twice, row, half, inv, base, centre, v, third, out):
        """Add Σ w, Σ w|y|², Σ w log2 w and Σ w (third |y|² + y·v) y to out[row] (D + 3)."""
        for i in range(first, last):
            t = _bits(zeros, X, L, i, near, twice, row, half, inv, base)
            w, square, along = _power(t, CEILING, FLOOR), 0.0, 0.0
            for d in range(len(zeros)):
                y = (X[d, i] - near[row, d]) - centre[row, d]
                square += y * y
                if v is not None:
                    along += y * v[row, d]
            out[row, 0] += w
            out[row, 1] += w * square
            out[row, 2] += w * max(t, FLOOR)
            if v is not None:
                for d in range(len(zeros)):
                    y = (X[d, i] - near[row, d]) - centre[row, d]
                    out[row, 3 + d] += (w * (third * square + along)) * y

    @strict
    def centred(zeros, X, L, first, last, near, twice, row, half, inv, base, centre, rows, out):
        """Write w to rows[0] and y to the D rows after it, and add Σ w to out[row, 0]."""
        for i in range(first, last):
            t = _bits(zeros, X, L, i, near, twice, row, half, inv, base)
            rows[0, i - first] = _power(t, CEILING, FLOOR)
            out[row, 0] += rows[0, i - first]
            for d in range(len(zeros)):
                rows[1 + d, i - first] = (X[d, i] - near[row, d]) - centre[row, d]

    @strict
    def gram(rows, dim, count, row, out):
        """Add Σ w y_a y_d of the first `count` columns to out[row, 8 + a P + d], a ≤ d."""
        pitch = rows.shape[0] - 1
        for a in range(dim):
            for d in range(a, dim):
                total = 0.0
                for i in range(count):
                    total += (rows[0, i] * rows[1 + a, i]) * rows[1 + d, i]
                out[row, LANES + a * pitch + d] += total

    @strict
    def least(zeros, X, L, first, last, Q, row, lift, best, index):
        """Replace best[0] by the least |x - x_i|² - lift L_i over first ≤ i < last, if less."""
        for i in range(first, last):
            key = 0.0 if L is None else -(lift * L[i])
            for d in range(len(zeros)):
                gap = X[d, i] - Q[row, d]
                key += gap * gap
            if key < best[0]:
                best[0], index[0] = key, i

    @strict
    def weigh_single(zeros, Y, block, row, slope, kappa, base, weighted, out):
        """Σ w and Σ w y_i over a block of points into out[row], from float32 numbers."""
        dim = len(zeros)
        sums = np.zeros(dim + 1)
        for i in range(Y.shape[2]):
            t = np.float64(base) - np.float64(kappa) * Y[block, 0, i]
            for d in range(dim):
                t += np.float64(slope[row, d]) * Y[block, 1 + d, i]
            if weighted is not None:
                t += Y[block, dim + 1, i]
            w = _power(t, CEILING_SINGLE, FLOOR_SINGLE)
            sums[0] += w
            for d in range(dim):
                sums[1 + d] += w * Y[block, 1 + d, i]
        for j in range(dim + 1):
            out[row, j] = sums[j]

    @strict
    def contract(A, j, f, g, d, out, jo, ko):
        """out[jo, r] = Σ_k A[j, r, k] f[d, k] and out[ko, r] = Σ_k A[j, r, k] g[d, k]."""
        for r in range(A.shape[1]):
            out[jo, r] = out[ko, r] = 0.0
            for k in range(A.shape[2]):
                out[jo, r] += A[j, r, k] * f[d, k]
                out[ko, r] += A[j, r, k] * g[d, k]
