"""What writes vector instructions into a function that numba compiles: arithmetic, random numbers, loops.

Rounding, random bits, logarithm and tanh are those of JAX and XLA on CPUs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

LANES = 16
"""Numbers in a vector; on narrower machines LLVM makes several of one."""
PANEL = 4 * LANES
"""Columns of weights that lie side by side."""

_FLOAT, INT, WORD = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(WORD, LANES)

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
MOST_NOISE = 16.0
"""More than any Gumbel noise of 23 random bits: -log(-log(1 - 2**-23)) is 15.94."""
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


class VectorCode:
    """Writes vector instructions where numba has got to."""

    def __init__(self, builder: Any):
        """Takes what builds LLVM's instructions."""
        self.builder = builder

    def pointer(self, address: Any) -> Any:
        """A pointer to numbers, of an address in bytes."""
        return self.builder.inttoptr(address, _FLOAT.as_pointer())

    def at(self, pointer: Any, offset: Any) -> Any:
        """A place so many numbers further on."""
        return self.builder.gep(pointer, [ir.Constant(INT, offset) if isinstance(offset, int) else offset])

    def row(self, pointer: Any, stride: Any, number: int) -> Any:
        """Where a row begins; rows are `stride` numbers apart."""
        return self.at(pointer, self.builder.mul(stride, ir.Constant(INT, number)))

    def load(self, pointer: Any, offset: Any) -> Any:
        """A vector from memory."""
        return self.builder.load(self.builder.bitcast(self.at(pointer, offset), _VECTOR.as_pointer()), align=4)

    def store(self, vector: Any, pointer: Any, offset: Any) -> None:
        """A vector into memory."""
        self.builder.store(vector, self.builder.bitcast(self.at(pointer, offset), _VECTOR.as_pointer()), align=4)

    def everywhere(self, number: Any) -> Any:
        """One number in all lanes."""
        nothing = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
        first = self.builder.insert_element(nothing, number, ir.Constant(WORD, 0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(_WORDS, [0] * LANES))

    def constant(self, value: float) -> Any:
        """A constant in all lanes."""
        return ir.Constant(_VECTOR, [ir.Constant(_FLOAT, float(value))] * LANES)

    def from_bits(self, bits: int) -> Any:
        """A constant given by its bits."""
        return self.constant(float(np.array(bits, np.uint32).view(np.float32)))

    def words(self, *values: int) -> Any:
        """Constant words, repeated to fill the lanes."""
        return ir.Constant(_WORDS, [value % 2**32 for value in values] * (LANES // len(values)))

    def call(self, name: str, *vectors: Any, returns: Any = _VECTOR) -> Any:
        """A call of an LLVM function."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(returns, [vector.type for vector in vectors]), name)
        return self.builder.call(function, vectors)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A · b + c, rounded once."""
        return self.call("llvm.fma.v16f32", a, b, c)

    def polynomial(self, x: Any, coefficients: Sequence[int]) -> Any:
        """A polynomial in x; coefficients by their bits, the highest first."""
        value = self.from_bits(coefficients[0])
        for bits in coefficients[1:]:
            value = self.fma(x, value, self.from_bits(bits))
        return value

    def tanh(self, x: Any) -> Any:
        """The hyperbolic tangent."""
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
        return [self.everywhere(b.trunc(word, WORD)) for word in (b.lshr(key, ir.Constant(INT, 32)), key)]

    def gumbel(self, key: Sequence[Any], n: Any) -> Any:
        """The n-th vector of what `jax.random.gumbel` draws."""
        b = self.builder
        counter = b.add(self.everywhere(b.trunc(b.mul(n, ir.Constant(INT, LANES)), WORD)), self.words(*range(LANES)))
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
        zero = ir.Constant(INT, 0)
        b.cbranch(b.icmp_signed("<", zero, count), inside, end)
        b.position_at_end(inside)
        n = b.phi(INT)
        phis = [b.phi(state.type) for state in states]
        new = body(n, phis)
        following, last = b.add(n, ir.Constant(INT, 1)), b.block
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
