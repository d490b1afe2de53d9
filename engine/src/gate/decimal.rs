//! Exact decimal numbers: a number is what it prints as.
//!
//! `0.1 + 0.2` prints as `0.30000000000000004` and is above `0.3`; `0.35 − 0.01` is exactly `0.34`. Only what judging a rule needs:
//! sum, difference, product, order.

use std::cmp::Ordering;
use std::fmt;

/// `digits × 10^exponent`, with a sign. Normal form: no zeros at either end of the digits, zero has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Least digit first, each 0–9.
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    /// The shortest decimal that reads back as this number. `None` for NaN and the infinities.
    pub fn from_f64(number: f64) -> Option<Self> {
        if number.is_finite() {
            Self::parse(&format!("{number:e}"))
        } else {
            None
        }
    }

    /// The decimal that a JSON number prints as. `None` where it is beyond what a double can hold.
    pub fn from_number(number: &serde_json::Number) -> Option<Self> {
        let finite = number.as_f64().is_some_and(f64::is_finite);
        if finite {
            Self::parse(&number.to_string())
        } else {
            None
        }
    }

    /// Reads `-12.5e-3`.
    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i32 = exponent.parse().ok()?;
        let digits: Option<Vec<u8>> = fraction
            .bytes()
            .rev()
            .chain(whole.bytes().rev())
            .map(digit)
            .collect();
        Some(Self::normal(
            negative,
            digits?,
            exponent - i32::try_from(fraction.len()).ok()?,
        ))
    }

    fn normal(negative: bool, mut digits: Vec<u8>, mut exponent: i32) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        exponent += zeros as i32;
        if digits.is_empty() {
            return Self {
                negative: false,
                digits,
                exponent: 0,
            };
        }
        Self {
            negative,
            digits,
            exponent,
        }
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// Whether it is below 0.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The same with the other sign.
    pub fn negated(&self) -> Self {
        Self {
            negative: !self.negative && !self.is_zero(),
            ..self.clone()
        }
    }

    /// `self + other`, exactly.
    pub fn plus(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.aligned(exponent), other.aligned(exponent));
        if self.negative == other.negative {
            return Self::normal(self.negative, add(&a, &b), exponent);
        }
        match compare(&a, &b) {
            Ordering::Less => Self::normal(other.negative, subtract(&b, &a), exponent),
            _ => Self::normal(self.negative, subtract(&a, &b), exponent),
        }
    }

    /// `self − other`, exactly.
    pub fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    /// `self × other`, exactly.
    pub fn times(&self, other: &Self) -> Self {
        let mut product = vec![0_u32; self.digits.len() + other.digits.len()];
        for (i, a) in self.digits.iter().enumerate() {
            for (j, b) in other.digits.iter().enumerate() {
                product[i + j] += u32::from(*a) * u32::from(*b);
            }
        }
        let mut carry = 0;
        let carried = product.iter().map(|sum| {
            let sum = sum + carry;
            carry = sum / 10;
            (sum % 10) as u8
        });
        let digits = carried.collect();
        Self::normal(
            self.negative != other.negative,
            digits,
            self.exponent + other.exponent,
        )
    }

    /// Rounded to `places` digits after the point, halves away from zero.
    pub fn rounded(&self, places: i32) -> Self {
        let drop = -(places + self.exponent);
        if drop <= 0 {
            return self.clone();
        }
        let drop = drop as usize;
        let up = self.digits.get(drop - 1).is_some_and(|digit| *digit >= 5);
        let kept = self.digits.get(drop..).unwrap_or_default();
        let digits = if up { add(kept, &[1]) } else { kept.to_vec() };
        Self::normal(self.negative, digits, -places)
    }

    /// As a percentage: the point moved by two.
    pub fn percent(&self) -> Self {
        if self.is_zero() {
            self.clone()
        } else {
            Self {
                exponent: self.exponent + 2,
                ..self.clone()
            }
        }
    }

    /// Zeros right after the point, 0 for numbers of 0.1 and more.
    pub fn leading_zeros(&self) -> i32 {
        if self.is_zero() {
            0
        } else {
            (-(self.digits.len() as i32 + self.exponent)).max(0)
        }
    }

    fn aligned(&self, exponent: i32) -> Vec<u8> {
        let zeros = if self.is_zero() {
            0
        } else {
            (self.exponent - exponent) as usize
        };
        std::iter::repeat_n(0, zeros)
            .chain(self.digits.iter().copied())
            .collect()
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let difference = self.minus(other);
        match (difference.is_zero(), difference.negative) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Less,
            (false, false) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    /// Plain where the point lies within 21 digits, else `1.5e300`. One text for one number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let digits: String = self
            .digits
            .iter()
            .rev()
            .map(|digit| char::from(b'0' + digit))
            .collect();
        let point = digits.len() as i32 + self.exponent;
        let sign = if self.negative { "-" } else { "" };
        match point {
            -5..=0 => write!(f, "{sign}0.{}{digits}", "0".repeat(-point as usize)),
            1..=21 if self.exponent >= 0 => write!(f, "{sign}{digits}{}", "0".repeat(self.exponent as usize)),
            1..=21 => write!(
                f,
                "{sign}{}.{}",
                &digits[..point as usize],
                &digits[point as usize..]
            ),
            _ if digits.len() == 1 => write!(f, "{sign}{digits}e{}", point - 1),
            _ => write!(f, "{sign}{}.{}e{}", &digits[..1], &digits[1..], point - 1),
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let sums = (0..=a.len().max(b.len())).map(|i| {
        let sum = a.get(i).unwrap_or(&0) + b.get(i).unwrap_or(&0) + carry;
        carry = sum / 10;
        sum % 10
    });
    sums.collect()
}

/// `a − b`, where `a` is not smaller.
fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let differences = a.iter().enumerate().map(|(i, digit)| {
        let take = b.get(i).unwrap_or(&0) + borrow;
        borrow = u8::from(*digit < take);
        digit + 10 * borrow - take
    });
    differences.collect()
}

/// By size; zeros at the great end do not count.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let length = a.len().max(b.len());
    let at = |digits: &[u8], i: usize| digits.get(i).copied().unwrap_or(0);
    (0..length)
        .rev()
        .map(|i| at(a, i).cmp(&at(b, i)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn d(number: f64) -> Decimal {
        Decimal::from_f64(number).unwrap()
    }

    #[test]
    fn numbers_are_what_they_print_as() {
        assert!(d(0.1 + 0.2) > d(0.3));
        assert_eq!(d(0.35).minus(&d(0.01)), d(0.34));
        assert_eq!(d(1.1).times(&d(1.1)), d(1.21));
        assert_eq!(d(-0.0), d(0.0));
        assert_eq!(d(0.1).plus(&d(-0.1)).to_string(), "0");
        assert_eq!(d(1e300).plus(&d(1e-300)).minus(&d(1e300)), d(1e-300));
        assert!(Decimal::from_f64(f64::NAN).is_none() && Decimal::from_f64(f64::INFINITY).is_none());
    }

    #[test]
    fn one_text_for_one_number() {
        let shown = |number: f64| d(number).to_string();
        let all = [
            0.0,
            1.0,
            -0.25,
            1e16,
            1e21,
            1e300,
            1.5e-7,
            0.00001,
            123_456.75,
            -1e-300,
            0.30000000000000004,
        ];
        assert_eq!(
            all.map(shown),
            [
                "0",
                "1",
                "-0.25",
                "10000000000000000",
                "1e21",
                "1e300",
                "1.5e-7",
                "0.00001",
                "123456.75",
                "-1e-300",
                "0.30000000000000004"
            ]
        );
    }

    #[test]
    fn rounding_goes_away_from_zero_at_halves() {
        assert_eq!(d(0.12345).rounded(4).to_string(), "0.1235");
        assert_eq!(d(-0.99999).rounded(4).to_string(), "-1");
        assert_eq!(d(0.00004).rounded(4).to_string(), "0");
        assert_eq!(d(1234.0).rounded(-2).to_string(), "1200");
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_numbers(a in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL, b in proptest::num::f64::NORMAL) {
            prop_assert_eq!(Some(d(a).cmp(&d(b))), a.partial_cmp(&b));
            prop_assert_eq!(d(a).to_string().parse::<f64>().unwrap(), a);
        }

        #[test]
        fn whole_numbers_calculate_as_integers(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000) {
            let n = |i: i64| Decimal::from_number(&i.into()).unwrap();
            prop_assert_eq!(n(a).plus(&n(b)), n(a + b));
            prop_assert_eq!(n(a).minus(&n(b)), n(a - b));
            prop_assert_eq!(n(a).times(&n(b)), n(a * b));
        }
    }
}
