//! Quantities such as `500m` and `8Gi`, as Kubernetes compares them: by value.
//!
//! The format is that of `k8s.io/apimachinery/pkg/api/resource`. No maintained crate reads it for the Kubernetes version
//! in use.

use serde_json::Value;

/// Units in a nano-unit's multiples: the smallest step that Kubernetes keeps.
const NANO: i128 = 1_000_000_000;
/// The longest text that is read. Longer ones are compared as text.
const MAX_LENGTH: usize = 64;

/// Returns the value of a quantity in nano-units, rounded up as Kubernetes does; `None` if it is not a quantity.
///
/// ```text
/// 4 = "4" = "4000m" = "4e0"        8Gi = 8192Mi
/// ```
pub(super) fn nanos(quantity: &Value) -> Option<i128> {
    match quantity {
        Value::Number(number) => parse(&number.to_string()),
        Value::String(text) => parse(text),
        _ => None,
    }
}

fn parse(text: &str) -> Option<i128> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let (numerator, denominator) = scale(suffix)?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(denominator)?;
    let scaled = digits.checked_mul(numerator)?.checked_mul(NANO)?;
    // Away from zero.
    let magnitude = scaled / divisor + i128::from(scaled % divisor != 0);
    Some(if negative { -magnitude } else { magnitude })
}

/// Returns what a suffix multiplies by, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let decimal = |exponent: u32| 10_i128.checked_pow(exponent);
    Some(match suffix {
        "n" => (1, decimal(9)?),
        "u" => (1, decimal(6)?),
        "m" => (1, decimal(3)?),
        "" => (1, 1),
        "k" => (decimal(3)?, 1),
        "M" => (decimal(6)?, 1),
        "G" => (decimal(9)?, 1),
        "T" => (decimal(12)?, 1),
        "P" => (decimal(15)?, 1),
        "E" => (decimal(18)?, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = decimal(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_of_the_same_value_are_equal() {
        let same = [
            vec![json!(4), json!("4"), json!("4000m"), json!("4e0"), json!("4.0"), json!("+4"), json!("0.004k")],
            vec![json!("8Gi"), json!("8192Mi"), json!("8589934592"), json!(8_589_934_592_i64)],
            vec![json!("1E"), json!("1000P"), json!("1E18")],
            vec![json!("1.5Gi"), json!("1536Mi")],
            vec![json!("100m"), json!("0.1"), json!(".1"), json!("1e-1"), json!("1E-1")],
            vec![json!("0"), json!(0), json!("0Gi"), json!("-0")],
            // Kubernetes keeps nothing smaller than a nano-unit.
            vec![json!("1n"), json!("0.1n"), json!("0.0000000001")],
            vec![json!("-1500m"), json!("-1.5")],
        ];
        for spellings in &same {
            for spelling in spellings {
                assert_eq!(nanos(spelling), nanos(&spellings[0]), "{spelling} and {}", spellings[0]);
                assert!(nanos(spelling).is_some(), "{spelling}");
            }
        }
        for pair in same.windows(2) {
            assert_ne!(nanos(&pair[0][0]), nanos(&pair[1][0]));
        }
    }

    #[test]
    fn what_is_no_quantity_is_none_whatever_its_size() {
        let huge = "9".repeat(100_000);
        for text in ["", "-", ".", "1.2.3", "Gi", "4 Gi", "4gi", "1e", "1e99", "0x10", "1ee3", &huge, "1e999999999999"]
        {
            assert_eq!(nanos(&json!(text)), None, "{text}");
        }
        assert_eq!(nanos(&json!(null)), None);
        assert_eq!(nanos(&json!([1])), None);
    }
}
