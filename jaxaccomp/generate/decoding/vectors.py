"""Vector instructions for numba, which itself writes scalar loops: the blocks of which `kernels` are made.

A block of up to six rows meets a panel of 64 columns of weights, four vectors for each input. Sums stay in registers,
each summed over its inputs in one order with one rounding for each, whatever the number of rows.

numba looks for changes in the file of a function that it has compiled, not in this one nor in `vector_code`: whoever
changes them counts up `kernels.EDITION`.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from jaxaccomp.generate.decoding.vector_code import INT, LANES, MOST_NOISE, PANEL, WORD, VectorCode

_FEW = 2
"""Rows whose sums over even and odd inputs fit in the registers together."""


def _intrinsic(write: Callable, returns: Any = types.void) -> Callable:
    """Makes `write(code, *addresses and numbers)` callable from compiled loops, with one tuple of int64."""

    def codegen(_context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arguments = [builder.extract_value(values[0], n) for n in range(signature.args[0].count)]
        result = write(VectorCode(builder), *arguments)
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
        with_odd = b.sub(every, ir.Constant(INT, 1))
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
    numbers, one = b.inttoptr(numbers, WORD.as_pointer()), ir.Constant(INT, 1)

    def body(n, _):
        place = b.mul(n, ir.Constant(INT, LANES))

        def of_row(p):
            number = b.sext(b.load(code.at(numbers, p), align=4), INT)
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
    return [b.select(is_more, new, best), b.select(is_more, code.everywhere(b.trunc(n, WORD)), where)]


def _first_of_largest(code, best, where):
    b = code.builder
    is_best = b.fcmp_ordered("==", best, code.everywhere(code.largest(best)))
    place = b.select(is_best, b.add(b.mul(where, code.words(LANES)), code.words(*range(LANES))), code.words(2**31 - 1))
    return b.zext(code.call("llvm.vector.reduce.smin.v16i32", place, returns=WORD), INT)


def _write_noisy_argmax(code, x, count, key, temperature):
    """Where the first of the largest of `x + temperature * noise` is, with `VectorCode.gumbel`'s noise, and not at 0.

    Noise is never more than `MOST_NOISE`. Vectors of which no number could reach what is the largest so far, even with
    that much, are passed over: most of a large vocabulary. The vector with the largest number goes first.
    """
    b, heat, key = code.builder, code.everywhere(code.number(temperature)), code.key(key)
    largest = b.lshr(_write_argmax(code, x, count), ir.Constant(INT, 4))  # the vector it is in
    x = code.pointer(x)

    def noisy(n):
        return code.fma(heat, code.gumbel(key, n), code.load(code.row(x, n, LANES), 0))

    def body(n, states):
        reach = code.fma(heat, code.constant(MOST_NOISE), code.load(code.row(x, n, LANES), 0))
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
    b, wide = code.builder, ir.VectorType(INT, LANES)
    words = code.random_bits(code.key(key), code.words(0), code.everywhere(b.trunc(bar, WORD)))
    words = code.random_bits(words, code.words(0), code.words(*range(LANES)))
    high, low = (
        b.zext(word, wide) for word in code.random_bits(words, code.words(0), code.everywhere(b.trunc(part, WORD)))
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
