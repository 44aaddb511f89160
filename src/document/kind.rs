//! What a value may be: each function here reads one kind of value, or says what is wrong and what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::node::{Node, Value};
use super::units::{self, NoAmount};

/// Why a value cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Another type than this one. The value itself is not told: it may be a secret in the wrong place.
    Type(String),
    /// The value as written, and then these words.
    Value(String),
    /// These words alone: the value may hold a secret.
    Hidden(String),
}

pub fn text(node: &Node) -> Result<String, Wrong> {
    node.as_str().map(str::to_owned).ok_or_else(|| Wrong::Type("a string".to_owned()))
}

pub fn boolean(node: &Node) -> Result<bool, Wrong> {
    match node.value {
        Value::Boolean(value) => Ok(value),
        Value::Null
        | Value::Number(_)
        | Value::String(_)
        | Value::Foreign(_)
        | Value::List(_)
        | Value::Table(_) => Err(Wrong::Type("true or false".to_owned())),
    }
}

/// A string that `parse` understands; its error begins with "is" or "has" and ends with what to write.
pub fn parsed<T>(parse: impl Fn(&str) -> Result<T, String>) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| parse(&text(node)?).map_err(Wrong::Value)
}

/// The name of an upstream or a plugin.
pub fn name(node: &Node) -> Result<String, Wrong> {
    const NAME_BYTES_MAX: usize = 100;
    parsed(|text| {
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits {
            Ok(text.to_owned())
        } else {
            Err("is not a name; write 1 to 100 of a-z, 0-9 and -".to_owned())
        }
    })(node)
}

/// One of a few words, each with its meaning.
pub fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| {
        let allowed: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let Some(text) = node.as_str() else {
            return Err(Wrong::Type(format!("one of {}", allowed.join(", "))));
        };
        let meaning = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        meaning.ok_or_else(|| Wrong::Value(format!("is not one of {}", allowed.join(", "))))
    }
}

/// A whole number in a range.
pub fn integer<N>(range: RangeInclusive<N>) -> impl Fn(&Node) -> Result<N, Wrong>
where
    N: TryFrom<i64> + PartialOrd + Display,
{
    move |node| {
        let (low, high) = (range.start(), range.end());
        let Value::Number(number) = &node.value else {
            return Err(Wrong::Type(format!("a whole number from {low} to {high}")));
        };
        let Some(number) = number.as_i64() else {
            return Err(Wrong::Value(format!("is not a whole number from {low} to {high}")));
        };
        N::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| Wrong::Value(format!("is out of range; write {low} to {high}")))
    }
}

/// A number in a range, fractions included.
pub fn fraction(range: RangeInclusive<f64>) -> impl Fn(&Node) -> Result<f64, Wrong> {
    move |node| {
        let (low, high) = (range.start(), range.end());
        let Value::Number(number) = &node.value else {
            return Err(Wrong::Type(format!("a number from {low} to {high}")));
        };
        let fitting = number.as_f64().filter(|number| range.contains(number));
        fitting.ok_or_else(|| Wrong::Value(format!("is out of range; write {low} to {high}")))
    }
}

/// A duration in a range, as a string with its unit.
pub fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node) -> Result<Duration, Wrong> {
    move |node| {
        let (low, high) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
        if let Value::Number(number) = &node.value {
            return Err(Wrong::Value(format!("has no unit; write \"{number}s\" ({low} to {high})")));
        }
        let Some(text) = node.as_str() else {
            return Err(Wrong::Type(format!("a duration such as \"30s\" ({low} to {high})")));
        };
        in_range(units::duration(text), &range, "duration", "30s", &low, &high)
    }
}

/// A size in bytes in a range: a string with its unit, or a plain number of bytes.
pub fn size(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Result<u64, Wrong> {
    move |node| {
        let (low, high) = (units::show_size(*range.start()), units::show_size(*range.end()));
        let amount = match (&node.value, node.as_str()) {
            (Value::Number(number), _) => number.as_u64().ok_or(NoAmount::Nonsense),
            (_, Some(text)) => units::size(text),
            (_, None) => return Err(Wrong::Type(format!("a size such as \"64KiB\" ({low} to {high})"))),
        };
        in_range(amount, &range, "size", "64KiB", &low, &high)
    }
}

fn in_range<T: PartialOrd>(
    amount: Result<T, NoAmount>,
    range: &RangeInclusive<T>,
    what: &str,
    example: &str,
    low: &str,
    high: &str,
) -> Result<T, Wrong> {
    match amount {
        Ok(amount) if range.contains(&amount) => Ok(amount),
        Ok(_) | Err(NoAmount::TooLarge) => {
            Err(Wrong::Value(format!("is out of range; write {low} to {high}")))
        }
        Err(NoAmount::Meant(meant)) => {
            Err(Wrong::Value(format!("is not a {what}; write {meant} ({low} to {high})")))
        }
        Err(NoAmount::Nonsense) => {
            Err(Wrong::Value(format!("is not a {what}; write it like {example} ({low} to {high})")))
        }
    }
}
