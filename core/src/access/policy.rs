//! A bucket policy: statements that allow or deny, and how a request is held against them.
//!
//! Source: AWS IAM user guide, "IAM JSON policy elements reference" and "Condition operators". Not here: the JSON.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// Canonical id; empty for the first user of the tenant.
    pub id: &'a str,
    /// By which other words a policy may name them: canonical ids and names of users.
    pub names: &'a [String],
}

/// A request, as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who; nobody for a request that is not signed.
    pub user: Option<Who<'a>>,
    /// Such as `s3:GetObject`.
    pub action: &'a str,
    /// Such as `arn:aws:s3:::bucket/key`.
    pub resource: &'a str,
    /// Values by key, the keys in lower case.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// What a policy says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No, whoever else says yes.
    Denied,
    /// Yes.
    Allowed,
    /// Nothing.
    Silent,
}

/// The statements of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In no order that matters.
    pub statements: Vec<Statement>,
}

/// Whom a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principals {
    /// Everybody, signed or not.
    Anybody,
    /// These: ARNs of users, their canonical ids, their names.
    Users(Vec<String>),
    /// Everybody but these.
    NotUsers(Vec<String>),
}

/// A list of patterns with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patterns {
    /// One of these.
    Any(Vec<String>),
    /// None of these.
    None(Vec<String>),
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Allows, or denies.
    pub allows: bool,
    /// Whom.
    pub principals: Principals,
    /// What. Compared without regard to case.
    pub actions: Patterns,
    /// On what.
    pub resources: Patterns,
    /// Only if all of these hold.
    pub conditions: Vec<Condition>,
}

/// How the values of a key with several of them are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    /// The key has one value, or any of its values will do.
    One,
    /// All that the request has, also none.
    ForAll,
    /// At least one.
    ForAny,
}

/// How one value is compared with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal texts.
    Equals,
    /// Equal but for case.
    EqualsIgnoreCase,
    /// A pattern with `*` and `?`.
    Like,
    /// Equal numbers.
    NumericEquals,
    /// Less.
    NumericLess,
    /// Less or equal.
    NumericLessEquals,
    /// Greater.
    NumericGreater,
    /// Greater or equal.
    NumericGreaterEquals,
    /// An ISO 8601 time in UTC that is equal.
    DateEquals,
    /// Earlier.
    DateLess,
    /// Earlier or equal.
    DateLessEquals,
    /// Later.
    DateGreater,
    /// Later or equal.
    DateGreaterEquals,
    /// `true` or `false`.
    Bool,
    /// An address in a network.
    IpAddress,
    /// Whether the key is missing.
    Null,
}

/// One condition: one key, and the operands of which one must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How.
    pub comparison: Comparison,
    /// Whether it must not fit.
    pub negated: bool,
    /// Whether it holds when the key is missing.
    pub if_exists: bool,
    /// For keys with several values.
    pub quantifier: Quantifier,
    /// In lower case.
    pub key: String,
    /// The operands.
    pub operands: Vec<String>,
}

impl Policy {
    /// Holds a request against all statements.
    #[must_use]
    pub fn judge(&self, asked: &Asked<'_>) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in self.statements.iter().filter(|statement| statement.is_about(asked)) {
            if !statement.allows {
                return Verdict::Denied; // ACCESS-1
            }
            verdict = Verdict::Allowed;
        }
        verdict
    }

    /// Whether it opens anything to everybody. A condition narrows it only where it names who asks, or from where (Amazon
    /// S3 user guide, "The meaning of public").
    #[must_use]
    pub fn is_public(&self) -> bool {
        const NARROW: [&str; 8] = [
            "aws:sourceip",
            "aws:sourcearn",
            "aws:sourcevpc",
            "aws:sourcevpce",
            "aws:sourceowner",
            "aws:sourceaccount",
            "aws:userid",
            "aws:principalorgid",
        ];
        self.statements.iter().any(|statement| {
            let anybody = !matches!(statement.principals, Principals::Users(_));
            let is_narrow = |condition: &Condition| {
                let fixed =
                    condition.operands.iter().all(|operand| !operand.contains(['*', '?']) && operand != "0.0.0.0/0");
                NARROW.contains(&condition.key.as_str()) && !condition.negated && !condition.if_exists && fixed
            };
            statement.allows && anybody && !statement.conditions.iter().any(is_narrow)
        })
    }
}

impl Statement {
    fn is_about(&self, asked: &Asked<'_>) -> bool {
        let action = asked.action.to_ascii_lowercase();
        let resource = |pattern: &str| {
            let filled = fill(pattern, asked);
            is_like(&filled, asked.resource)
        };
        self.principals.include(asked.user)
            && self.actions.fit(|pattern| is_like(&pattern.to_ascii_lowercase(), &action))
            && self.resources.fit(resource)
            && self.conditions.iter().all(|condition| condition.holds(asked.context))
    }
}

/// Puts `${aws:username}` and the other variables of a resource in their places.
fn fill(pattern: &str, asked: &Asked<'_>) -> String {
    if !pattern.contains("${") {
        return pattern.to_string();
    }
    let mut filled = pattern.to_string();
    for (key, values) in asked.context {
        if let [value] = values.as_slice() {
            let mut variable = String::from("${");
            variable.push_str(key);
            variable.push('}');
            filled = filled.replace(&variable, value);
        }
    }
    filled
}

impl Principals {
    fn include(&self, user: Option<Who<'_>>) -> bool {
        let names = |users: &[String]| user.is_some_and(|user| users.iter().any(|name| is_named(user, name)));
        match self {
            Principals::Anybody => true,
            Principals::Users(users) => names(users),
            Principals::NotUsers(users) => !names(users),
        }
    }
}

/// Whether an ARN, a canonical id or a name is that of the user.
fn is_named(user: Who<'_>, name: &str) -> bool {
    let name = name.strip_prefix("arn:aws:iam::").map_or(name, |rest| match rest.split_once(":user/") {
        Some((_, user)) => user,
        None => rest.strip_suffix(":root").unwrap_or(rest),
    });
    !name.is_empty() && user.names.iter().any(|known| known == name)
}

impl Patterns {
    fn fit(&self, mut fits: impl FnMut(&str) -> bool) -> bool {
        match self {
            Patterns::Any(patterns) => patterns.iter().any(|pattern| fits(pattern)),
            Patterns::None(patterns) => !patterns.iter().any(|pattern| fits(pattern)),
        }
    }
}

impl Condition {
    fn holds(&self, context: &BTreeMap<String, Vec<String>>) -> bool {
        let values = context.get(&self.key).map(Vec::as_slice).filter(|values| !values.is_empty());
        if self.comparison == Comparison::Null {
            let wants_missing = self.operands.iter().any(|operand| operand.eq_ignore_ascii_case("true"));
            return values.is_none() == wants_missing;
        }
        let Some(values) = values else {
            // A missing key fits nothing; what must not fit holds.
            return self.if_exists || self.negated || self.quantifier == Quantifier::ForAll;
        };
        let fits = |value: &String| {
            let fits = self.operands.iter().any(|operand| compare(self.comparison, value, operand));
            fits != self.negated
        };
        match self.quantifier {
            Quantifier::ForAll => values.iter().all(fits),
            Quantifier::One | Quantifier::ForAny => values.iter().any(fits),
        }
    }
}

fn compare(comparison: Comparison, value: &str, operand: &str) -> bool {
    let numbers = || Some((value.trim().parse::<f64>().ok()?, operand.trim().parse::<f64>().ok()?));
    let number = |holds: fn(f64, f64) -> bool| numbers().is_some_and(|(value, operand)| holds(value, operand));
    match comparison {
        Comparison::Equals => value == operand,
        Comparison::EqualsIgnoreCase => value.to_lowercase() == operand.to_lowercase(),
        Comparison::Like => is_like(operand, value),
        Comparison::NumericEquals => number(|value, operand| value == operand),
        Comparison::NumericLess => number(|value, operand| value < operand),
        Comparison::NumericLessEquals => number(|value, operand| value <= operand),
        Comparison::NumericGreater => number(|value, operand| value > operand),
        Comparison::NumericGreaterEquals => number(|value, operand| value >= operand),
        // Times of one form compare as texts do.
        Comparison::DateEquals => value == operand,
        Comparison::DateLess => value < operand,
        Comparison::DateLessEquals => value <= operand,
        Comparison::DateGreater => value > operand,
        Comparison::DateGreaterEquals => value >= operand,
        Comparison::Bool => value.eq_ignore_ascii_case(operand),
        Comparison::IpAddress => is_in_network(value, operand).unwrap_or(false),
        Comparison::Null => unreachable!("whether a key is missing is seen without its values"),
    }
}

/// Whether an address is in `network`, an address with or without the length of a prefix.
fn is_in_network(address: &str, network: &str) -> Option<bool> {
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, Some(length.parse::<u32>().ok()?)),
        None => (network, None),
    };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((address, width), (base, base_width)) = (bits(address.parse().ok()?), bits(base.parse().ok()?));
    let length = length.unwrap_or(base_width);
    if width != base_width || length > width {
        return Some(false);
    }
    let mask = if length == 0 { 0 } else { u128::MAX << (128 - length) };
    Some(address & mask == base & mask)
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters and `?` for one. In time of the product of their
/// lengths at most: nothing is tried twice.
#[must_use]
pub fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // Where the last `*` stands, and how much of the text it takes.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&character) if character == '?' || character == text[read] => {
                at += 1;
                read += 1;
            }
            Some(_) | None => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    read = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}
