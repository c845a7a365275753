"""Vector instructions for numba, which itself writes scalar loops: the blocks of which `kernels` are made.

A block of up to six rows meets a panel of 64 columns of weights, four vectors for each input. Sums stay in registers,
each summed over its inputs in one order with one rounding for each, whatever the number of rows. Rounding, random bits,
logarithm and tanh are those of JAX and XLA on CPUs.

numba looks for changes in the file of a function that it has compiled, not in this one: whoever changes this one counts
up `kernels.EDITION`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 16
"""Numbers in a vector; on narrower machines LLVM makes several of one."""
PANEL = 4 * LANES
"""Columns of weights that lie side by side."""

_FEW = 2
"""Rows whose sums over even and odd inputs fit in the registers together."""

_FLOAT, _INT, _WORD = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_WORD, LANES)

_TANH_OVER = (0xA59F25C0, 0x2A61337E, 0xAEBD37FF, 0x335C0041, 0x3779434A, 0x3A270DED, 0x3BA059DC)
_TANH_UNDER = (0x35A0D3D8, 0x38F895D6, 0x3B14AA05, 0x3BA059DD)
_TANH_LARGEST, _TANH_LINEAR = 0x40FFF644, 0x39D1B717
"""Bits of float32: coefficients of tanh as x times a ratio of polynomials in x²; from where it is 1; below it is x."""
_LOG = (
    (0x3D9021BB, 0xBDEBD1B8, 0x3DEF251A),
    (0xBDFE5D4F, 0x3E11E9BF, 0xBE2AAE50),
    (0x3E4CCEAC, 0xBE7FFFFC, 0x3EAAAAAA),
)
_LOG_2, _ROOT_HALF = (0x3F318000, 0xB95E8083), 0x3F3504F3
"""The same of the logarithm: Cephes' polynomial in three pieces, log 2 in two, and where the exponent is one less."""
_MOST_NOISE = 16.0
"""More than any Gumbel noise of 23 random bits: -log(-log(1 - 2**-23)) is 15.94."""
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


class _Code:
    """Writes vector instructions where numba has got to."""

    def __init__(self, builder: Any):
        self.builder = builder

    def pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, _FLOAT.as_pointer())

    def at(self, pointer: Any, offset: Any) -> Any:
        return self.builder.gep(pointer, [ir.Constant(_INT, offset) if isinstance(offset, int) else offset])

    def row(self, pointer: Any, stride: Any, number: int) -> Any:
        return self.at(pointer, self.builder.mul(stride, ir.Constant(_INT, number)))

    def load(self, pointer: Any, offset: Any) -> Any:
        return self.builder.load(self.builder.bitcast(self.at(pointer, offset), _VECTOR.as_pointer()), align=4)

    def store(self, vector: Any, pointer: Any, offset: Any) -> None:
        self.builder.store(vector, self.builder.bitcast(self.at(pointer, offset), _VECTOR.as_pointer()), align=4)

    def everywhere(self, number: Any) -> Any:
        """One number in all lanes."""
        nothing = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
        first = self.builder.insert_element(nothing, number, ir.Constant(_WORD, 0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(_WORDS, [0] * LANES))

    def constant(self, value: float) -> Any:
        return ir.Constant(_VECTOR, [ir.Constant(_FLOAT, float(value))] * LANES)

    def from_bits(self, bits: int) -> Any:
        return self.constant(float(np.array(bits, np.uint32).view(np.float32)))

    def words(self, *values: int) -> Any:
        return ir.Constant(_WORDS, [value % 2**32 for value in values] * (LANES // len(values)))

    def call(self, name: str, *vectors: Any, returns: Any = _VECTOR) -> Any:
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(returns, [vector.type for vector in vectors]), name)
        return self.builder.call(function, vectors)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A · b + c, rounded once."""
        return self.call("llvm.fma.v16f32", a, b, c)

    def polynomial(self, x: Any, coefficients: Sequence[int]) -> Any:
        value = self.from_bits(coefficients[0])
        for bits in coefficients[1:]:
            value = self.fma(x, value, self.from_bits(bits))
        return value

    def tanh(self, x: Any) -> Any:
        b, largest, smallest = self.builder, self.from_bits(_TANH_LARGEST), self.from_bits(_TANH_LARGEST | 1 << 31)
        size = self.call("llvm.fabs.v16f32", x)
        inside = b.select(b.fcmp_ordered("<", x, smallest), smallest, x)
        inside = b.select(b.fcmp_ordered(">", inside, largest), largest, inside)
        square = b.fmul(inside, inside)
        over = b.fmul(inside, self.polynomial(square, _TANH_OVER))
        ratio = b.fdiv(over, self.polynomial(square, _TANH_UNDER))
        ratio = b.select(b.fcmp_ordered("<", size, self.from_bits(_TANH_LINEAR)), x, ratio)
        sign = self.call("llvm.copysign.v16f32", self.constant(1.0), x)
        return b.select(b.fcmp_ordered(">=", size, self.constant(20.0)), sign, ratio)

    def log(self, x: Any) -> Any:
        """Of normal, finite, positive numbers."""
        b, one = self.builder, self.constant(1.0)
        bits = b.bitcast(x, _WORDS)
        fraction = b.or_(b.and_(bits, self.words(0x807FFFFF)), self.words(0x3F000000))
        mantissa = b.bitcast(fraction, _VECTOR)
        exponent = b.sitofp(b.sub(b.lshr(bits, self.words(23)), self.words(127)), _VECTOR)
        is_low = b.fcmp_ordered("<", mantissa, self.from_bits(_ROOT_HALF))
        exponent = b.fsub(b.fadd(one, exponent), b.select(is_low, one, self.constant(0.0)))
        x = b.fadd(b.fsub(mantissa, one), b.select(is_low, mantissa, self.constant(0.0)))
        square = b.fmul(x, x)
        cube = b.fmul(square, x)
        value = None
        for piece in _LOG:
            own = self.polynomial(x, piece)
            value = own if value is None else self.fma(value, cube, own)
        high, low = map(self.from_bits, _LOG_2)
        value = self.fma(value, cube, b.fmul(low, exponent))
        half = self.fma(self.constant(-0.5), square, x)
        return self.fma(high, exponent, b.fadd(half, value))

    def random_bits(self, key: Sequence[Any], first: Any, second: Any) -> tuple[Any, Any]:
        """Threefry's hash of pairs of words."""
        b = self.builder
        keys = [*key, b.xor(b.xor(key[0], key[1]), self.words(0x1BD11BDA))]
        first, second = b.add(first, keys[0]), b.add(second, keys[1])
        for n in range(5):
            for rotation in _ROTATIONS[n % 2]:
                first = b.add(first, second)
                second = self.call("llvm.fshl.v16i32", second, second, self.words(rotation), returns=_WORDS)
                second = b.xor(second, first)
            first = b.add(first, keys[(n + 1) % 3])
            second = b.add(b.add(second, keys[(n + 2) % 3]), self.words(n + 1))
        return first, second

    def key(self, key: Any) -> list[Any]:
        """Both words of a key, of one number."""
        b = self.builder
        return [self.everywhere(b.trunc(word, _WORD)) for word in (b.lshr(key, ir.Constant(_INT, 32)), key)]

    def gumbel(self, key: Sequence[Any], n: Any) -> Any:
        """The n-th vector of what `jax.random.gumbel` draws."""
        b = self.builder
        counter = b.add(self.everywhere(b.trunc(b.mul(n, ir.Constant(_INT, LANES)), _WORD)), self.words(*range(LANES)))
        bits = b.xor(*self.random_bits(key, self.words(0), counter))
        floats = b.bitcast(b.or_(b.lshr(bits, self.words(9)), self.words(0x3F800000)), _VECTOR)
        uniform = b.fadd(b.fsub(floats, self.constant(1.0)), self.from_bits(0x00800000))
        return b.fneg(self.log(b.fneg(self.log(uniform))))

    def largest(self, x: Any) -> Any:
        """Of a vector."""
        return self.call("llvm.vector.reduce.fmax.v16f32", x, returns=_FLOAT)

    def number(self, address: Any) -> Any:
        """What stands at an address."""
        return self.builder.load(self.pointer(address), align=4)

    def loop(self, count: Any, states: Sequence[Any], body: Callable) -> list[Any]:
        """`states = body(n, states)` for n from 0 to count - 1."""
        b, start = self.builder, self.builder.block
        inside, end = b.append_basic_block("inside"), b.append_basic_block("end")
        zero = ir.Constant(_INT, 0)
        b.cbranch(b.icmp_signed("<", zero, count), inside, end)
        b.position_at_end(inside)
        n = b.phi(_INT)
        phis = [b.phi(state.type) for state in states]
        new = body(n, phis)
        following, last = b.add(n, ir.Constant(_INT, 1)), b.block
        n.add_incoming(zero, start)
        n.add_incoming(following, last)
        for phi, state, value in zip(phis, states, new, strict=True):
            phi.add_incoming(state, start)
            phi.add_incoming(value, last)
        b.cbranch(b.icmp_signed("<", following, count), inside, end)
        b.position_at_end(end)
        results = [b.phi(state.type) for state in states]
        for result, state, value in zip(results, states, new, strict=True):
            result.add_incoming(state, start)
            result.add_incoming(value, last)
        return results

    def product(
        self, sums: list[Any], weights: Sequence[Any], x: Any, stride: Any, count: Any, every: Any
    ) -> list[Any]:
        """Adds products of inputs of each row to four sums a row, input by input.

        Args:
            sums: those of all rows, once for each of the weights.
            weights: one place, or two: that of the first inputs and that of the ones beside them.
            x: the first input.
            stride: from row to row.
            count: how many inputs for each of the weights.
            every: how far they lie apart.
        """
        rows = len(sums) // (4 * len(weights))
        xs = [self.row(x, stride, m) for m in range(rows)]

        def body(k: Any, sums: list[Any]) -> list[Any]:
            place, added = self.builder.mul(k, every), []
            for beside, of in enumerate(weights):
                columns = [self.load(self.row(of, k, PANEL), LANES * q) for q in range(4)]
                inputs = [
                    self.everywhere(self.builder.load(self.at(self.at(row, place), beside), align=4)) for row in xs
                ]
                own = sums[4 * rows * beside :]
                added += [self.fma(inputs[m], columns[q], own[4 * m + q]) for m in range(rows) for q in range(4)]
            return added

        return self.loop(count, sums, body)


def _intrinsic(write: Callable, returns: Any = types.void) -> Callable:
    """Makes `write(code, *addresses and numbers)` callable from compiled loops, with one tuple of int64."""

    def codegen(_context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arguments = [builder.extract_value(values[0], n) for n in range(signature.args[0].count)]
        result = write(_Code(builder), *arguments)
        return ir.Constant(ir.IntType(8).as_pointer(), None) if result is None else result

    def typed(_typing: Any, arguments: Any) -> Any:
        return returns(types.UniTuple(types.int64, len(arguments))), codegen

    return intrinsic(typed)


def _block(rows: int) -> Callable:
    """A panel's columns of `x @ kernel + y @ kernel + base` of some rows.

    With `every` 2, sums over the even inputs are made apart from those over the odd ones, whose weights follow.
    """

    def write(code, weights, x, x_stride, x_count, y, y_stride, y_count, every, base, base_stride, out, out_stride):
        b, none = code.builder, [code.constant(0.0)] * (4 * rows)
        weights, x, y, base, out = map(code.pointer, (weights, x, y, base, out))
        with_odd = b.sub(every, ir.Constant(_INT, 1))
        inputs = [
            (z, stride, b.sdiv(count, every)) for z, stride, count in ((x, x_stride, x_count), (y, y_stride, y_count))
        ]
        odd_weights = code.row(weights, b.add(inputs[0][2], inputs[1][2]), PANEL)
        even, odd = none, none
        if rows <= _FEW:  # both at once: a processor waits for a sum before it adds to it, but not for another one
            for z, stride, count in inputs:
                pairs = b.mul(count, with_odd)
                both = code.product(even + odd, (weights, odd_weights), z, stride, pairs, every)
                even, odd = both[: 4 * rows], both[4 * rows :]
                even = code.product(even, (weights,), z, stride, b.sub(count, pairs), every)
                weights, odd_weights = (code.row(place, count, PANEL) for place in (weights, odd_weights))
        else:
            for z, stride, count in inputs:
                even = code.product(even, (weights,), z, stride, count, every)
                weights = code.row(weights, count, PANEL)
            for z, stride, count in inputs:
                odd = code.product(odd, (weights,), code.at(z, 1), stride, b.mul(count, with_odd), every)
                weights = code.row(weights, count, PANEL)
        for n, halves in enumerate(zip(even, odd, strict=True)):
            added = code.load(code.row(base, base_stride, n // 4), LANES * (n % 4))
            code.store(b.fadd(added, b.fadd(*halves)), code.row(out, out_stride, n // 4), LANES * (n % 4))

    return _intrinsic(write)


def _write_activation(code, gates, rows, cells, out, stride):
    """A panel's 16 new cells and outputs of each row, of its gates."""
    b, half = code.builder, code.constant(0.5)
    gates, cells, out = map(code.pointer, (gates, cells, out))

    def body(m, _):
        i, j, f, o = (code.load(code.row(gates, m, PANEL), LANES * q) for q in range(4))
        # sigmoid(x) = tanh(x / 2) / 2 + 1/2; the forget gate's bias of 1 is 1/2 there.
        halves = (b.fmul(i, half), code.fma(f, half, half), b.fmul(o, half))
        i, f, o = (code.fma(code.tanh(x), half, half) for x in halves)
        place = b.mul(stride, m)
        cell = code.fma(f, code.load(cells, place), b.fmul(i, code.tanh(j)))
        code.store(cell, cells, place)
        code.store(b.fmul(o, code.tanh(cell)), out, place)
        return []

    code.loop(rows, [], body)


def _write_tanh(code, x, count):
    x = code.pointer(x)

    def body(n, _):
        here = code.row(x, n, LANES)
        code.store(code.tanh(code.load(here, 0)), here, 0)
        return []

    code.loop(count, [], body)


def _write_row_sum(code, table, stride, numbers, count, bias, out, vectors):
    """Rows of a table, `count` of them or at least one, added up in order, and then a bias."""
    b, table, bias, out = code.builder, code.pointer(table), code.pointer(bias), code.pointer(out)
    numbers, one = b.inttoptr(numbers, _WORD.as_pointer()), ir.Constant(_INT, 1)

    def body(n, _):
        place = b.mul(n, ir.Constant(_INT, LANES))

        def of_row(p):
            number = b.sext(b.load(code.at(numbers, p), align=4), _INT)
            return code.load(code.at(table, b.mul(number, stride)), place)

        [total] = code.loop(b.sub(count, one), [of_row(0)], lambda p, sums: [b.fadd(sums[0], of_row(b.add(p, one)))])
        code.store(b.fadd(total, code.load(bias, place)), out, place)
        return []

    code.loop(vectors, [], body)


def _write_argmax(code, x, count):
    """Where the first of the largest numbers is."""
    x = code.pointer(x)
    states = [code.constant(float("-inf")), code.words(0)]
    best, where = code.loop(
        count, states, lambda n, states: _larger(code, n, code.load(code.row(x, n, LANES), 0), *states)
    )
    return _first_of_largest(code, best, where)


def _larger(code, n, new, best, where):
    """The larger number in each lane, and the vector it comes from; among equals the first."""
    b = code.builder
    is_more = b.fcmp_ordered(">", new, best)
    return [b.select(is_more, new, best), b.select(is_more, code.everywhere(b.trunc(n, _WORD)), where)]


def _first_of_largest(code, best, where):
    b = code.builder
    is_best = b.fcmp_ordered("==", best, code.everywhere(code.largest(best)))
    place = b.select(is_best, b.add(b.mul(where, code.words(LANES)), code.words(*range(LANES))), code.words(2**31 - 1))
    return b.zext(code.call("llvm.vector.reduce.smin.v16i32", place, returns=_WORD), _INT)


def _write_noisy_argmax(code, x, count, key, temperature):
    """Where the first of the largest of `x + temperature * noise` is, with `_Code.gumbel`'s noise, and not at 0.

    Noise is never more than `_MOST_NOISE`. Vectors of which no number could reach what is the largest so far, even with
    that much, are passed over: most of a large vocabulary. The vector with the largest number goes first.
    """
    b, heat, key = code.builder, code.everywhere(code.number(temperature)), code.key(key)
    largest = b.lshr(_write_argmax(code, x, count), ir.Constant(_INT, 4))  # the vector it is in
    x = code.pointer(x)

    def noisy(n):
        return code.fma(heat, code.gumbel(key, n), code.load(code.row(x, n, LANES), 0))

    def body(n, states):
        reach = code.fma(heat, code.constant(_MOST_NOISE), code.load(code.row(x, n, LANES), 0))
        some = b.bitcast(b.fcmp_ordered(">=", reach, states[2]), ir.IntType(LANES))
        start = b.block
        with b.if_then(b.icmp_unsigned("!=", some, ir.Constant(ir.IntType(LANES), 0))):
            new = noisy(n)
            found = [*_larger(code, n, new, *states[:2]), code.call("llvm.maxnum.v16f32", states[2], new)]
            found[2] = code.everywhere(code.largest(found[2]))
            end = b.block
        kept = []
        for state, other in zip(states, found, strict=True):
            kept.append(b.phi(state.type))
            kept[-1].add_incoming(state, start)
            kept[-1].add_incoming(other, end)
        return kept

    floor = code.everywhere(code.largest(noisy(largest)))
    best, where, _ = code.loop(count, [code.constant(float("-inf")), code.words(0), floor], body)
    return _first_of_largest(code, best, where)


def _write_step_keys(code, key, bar, part, out):
    """Keys of a bar's `LANES` steps, see `kernels.step_keys`."""
    b, wide = code.builder, ir.VectorType(_INT, LANES)
    words = code.random_bits(code.key(key), code.words(0), code.everywhere(b.trunc(bar, _WORD)))
    words = code.random_bits(words, code.words(0), code.words(*range(LANES)))
    high, low = (
        b.zext(word, wide) for word in code.random_bits(words, code.words(0), code.everywhere(b.trunc(part, _WORD)))
    )
    keys = b.or_(b.shl(high, ir.Constant(wide, [32] * LANES)), low)
    b.store(keys, b.inttoptr(out, wide.as_pointer()), align=8)


def _typed_fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    signature = types.float32(types.float32, types.float32, types.float32)
    return signature, lambda _context, builder, _signature, values: builder.fma(*values)


def _typed_apart(_typing: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        builder.function.attributes.add("noinline")
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.void(), codegen


block_6, block_2, block_1 = map(_block, (6, 2, 1))
activate, tanh, row_sum, step_keys = map(_intrinsic, (_write_activation, _write_tanh, _write_row_sum, _write_step_keys))
argmax, noisy_argmax = (_intrinsic(write, types.int64) for write in (_write_argmax, _write_noisy_argmax))
fma: Any = intrinsic(_typed_fma)
"""a · b + c, rounded once."""
stay_apart: Any = intrinsic(_typed_apart)
"""Keeps the function where it stands from being copied into its callers, which would take seconds to compile."""
