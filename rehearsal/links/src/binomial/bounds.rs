//! Numbers rounded in one direction throughout, so that two of them enclose the true value.

use std::cmp::Ordering;

use num_bigint::BigUint;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Down,
    Up,
}

/// `mantissa * 2^exponent`, the mantissa's highest bit set unless it is zero.
#[derive(Clone, Copy)]
pub(super) struct Narrow {
    mantissa: u64,
    exponent: i64,
}

impl Narrow {
    pub(super) fn from(value: u64) -> Self {
        Self::fit(u128::from(value), 0, false, Round::Down)
    }

    /// `wide * 2^exponent`, plus something below one unit of it when `has_more`.
    fn fit(wide: u128, exponent: i64, has_more: bool, round: Round) -> Self {
        if wide == 0 {
            return Self { mantissa: u64::from(has_more && round == Round::Up), exponent };
        }
        let shift = 64 - i64::from(wide.leading_zeros());
        if shift <= 0 {
            // Room to the left: exact, but for what `has_more` tells of.
            let mantissa = (wide << -shift) as u64;
            let fitted = Self { mantissa, exponent: exponent + shift };
            return if has_more && round == Round::Up { fitted.next() } else { fitted };
        }
        let mantissa = (wide >> shift) as u64;
        let fitted = Self { mantissa, exponent: exponent + shift };
        let is_cut = has_more || wide.trailing_zeros() < shift as u32;
        if is_cut && round == Round::Up { fitted.next() } else { fitted }
    }

    fn next(self) -> Self {
        match self.mantissa.checked_add(1) {
            Some(mantissa) => Self { mantissa, ..self },
            None => Self { mantissa: 1 << 63, exponent: self.exponent + 1 },
        }
    }

    pub(super) fn multiply(self, by: u64, round: Round) -> Self {
        Self::fit(u128::from(self.mantissa) * u128::from(by), self.exponent, false, round)
    }

    pub(super) fn divide(self, by: u64, round: Round) -> Self {
        let wide = u128::from(self.mantissa) << 64;
        let by = u128::from(by);
        Self::fit(wide / by, self.exponent - 64, wide % by != 0, round)
    }

    pub(super) fn power(self, mut n: u64, round: Round) -> Self {
        let (mut square, mut product) = (self, Self::from(1));
        while n > 0 {
            if n & 1 == 1 {
                product = product.multiply(square.mantissa, round);
                product.exponent += square.exponent;
            }
            let exponent = square.exponent;
            square = square.multiply(square.mantissa, round);
            square.exponent += exponent;
            n >>= 1;
        }
        product
    }

    pub(super) fn add(self, other: Self, round: Round) -> Self {
        let (high, low) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let gap = (high.exponent - low.exponent).min(127);
        // Sixty-three bits more than the higher one needs; what falls off below is told.
        let (left, right) = (gap.min(63), (gap - 63).max(0));
        let lower = u128::from(low.mantissa);
        let is_cut = right > 0 && lower & ((1 << right) - 1) != 0;
        let wide = (u128::from(high.mantissa) << left) + (lower >> right);
        Self::fit(wide, high.exponent - left, is_cut, round)
    }

    /// Ordered as the values are, zero first.
    pub(super) fn order(self) -> (bool, i64, u64) {
        if self.mantissa == 0 { (false, 0, 0) } else { (true, self.exponent, self.mantissa) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Precision {
    pub(super) bits: u64,
    pub(super) round: Round,
}

/// `mantissa * 2^exponent`.
#[derive(Clone)]
pub(super) struct Dyadic {
    pub(super) mantissa: BigUint,
    exponent: i64,
}

impl Dyadic {
    pub(super) fn from_ratio(over: u64, under: u64, precision: Precision) -> Self {
        Self { mantissa: BigUint::from(over), exponent: 0 }.divide(under, precision)
    }

    pub(super) fn divide(mut self, by: u64, precision: Precision) -> Self {
        let shift = precision.bits + 64;
        self.mantissa <<= shift;
        self.exponent -= shift as i64;
        let remainder = &self.mantissa % by;
        self.mantissa /= by;
        if precision.round == Round::Up && remainder != BigUint::ZERO {
            self.mantissa += 1u32;
        }
        self.rounded(precision)
    }

    fn rounded(mut self, precision: Precision) -> Self {
        let Some(shift) = self.mantissa.bits().checked_sub(precision.bits) else { return self };
        let inexact = self.mantissa.trailing_zeros().is_some_and(|zeros| zeros < shift);
        self.mantissa >>= shift;
        self.exponent += shift as i64;
        if inexact && precision.round == Round::Up {
            self.mantissa += 1u32;
        }
        self
    }

    pub(super) fn power(&self, mut n: u64, precision: Precision) -> Self {
        let mut base = self.clone();
        let mut product = Self { mantissa: BigUint::from(1u32), exponent: 0 };
        while n > 0 {
            if n & 1 == 1 {
                product = product.multiply(&base, precision);
            }
            base = base.multiply(&base, precision);
            n >>= 1;
        }
        product
    }

    pub(super) fn multiply(&self, other: &Self, precision: Precision) -> Self {
        Self {
            mantissa: &self.mantissa * &other.mantissa,
            exponent: self.exponent + other.exponent,
        }
        .rounded(precision)
    }

    pub(super) fn add(&self, other: &Self, precision: Precision) -> Self {
        let (high, low) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let gap = (high.exponent - low.exponent).unsigned_abs();
        // A far smaller number only decides the last bit.
        if gap > 4 * precision.bits && high.mantissa != BigUint::ZERO {
            let mut sum = high.clone();
            if precision.round == Round::Up {
                sum.mantissa += 1u32;
            }
            return sum;
        }
        Self { mantissa: (&high.mantissa << gap) + &low.mantissa, exponent: low.exponent }
            .rounded(precision)
    }

    pub(super) fn compare(&self, whole: u64) -> Ordering {
        let whole = BigUint::from(whole);
        // Lengths first, so that a tiny number is never expanded.
        let (length, other) = (self.mantissa.bits() as i64 + self.exponent, whole.bits() as i64);
        length.cmp(&other).then_with(|| {
            let shift = self.exponent.unsigned_abs();
            if self.exponent < 0 {
                self.mantissa.cmp(&(whole << shift))
            } else {
                (&self.mantissa << shift).cmp(&whole)
            }
        })
    }
}
