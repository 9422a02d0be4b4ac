//! What an expression of PromQL asks for, as far as a test has to know.

use std::collections::BTreeSet;

/// The metrics and labels in an expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The names of the metrics.
    pub(crate) metrics: BTreeSet<String>,
    /// The labels that have to have a value: the label, the operator, the value.
    pub(crate) matchers: Vec<(String, String, String)>,
    /// The labels by which series are put together.
    pub(crate) grouped: BTreeSet<String>,
}

/// Words that are no metrics although no parenthesis follows.
const WORDS: [&str; 8] = ["and", "or", "unless", "bool", "sum", "max", "min", "count"];

/// Words before a list of labels.
const GROUPING: [&str; 4] = ["by", "on", "without", "ignoring"];

/// Reads an expression.
///
/// # Panics
/// At what it does not know: that is not used without a test.
#[track_caller]
pub(crate) fn asked(expression: &str) -> Asked {
    let mut asked = Asked::default();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = match first {
            '{' => {
                let (inside, after) = rest[1..].split_once('}').expect("the end of the matchers");
                matchers(inside, &mut asked);
                after
            }
            '[' => rest.split_once(']').expect("the end of a range").1,
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                let after = after.trim_start();
                match after.strip_prefix('(') {
                    Some(list) if GROUPING.contains(&word) => {
                        let (labels, after) = list.split_once(')').expect("the end of a list");
                        asked.grouped.extend(labels.split(',').map(|label| label.trim().to_owned()));
                        after
                    }
                    Some(_) => after,
                    None if WORDS.contains(&word) => after,
                    None => {
                        asked.metrics.insert(word.to_owned());
                        after
                    }
                }
            }
            '0'..='9' => rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'),
            '(' | ')' | ',' | '+' | '-' | '*' | '/' | '<' | '>' | '=' | '!' => &rest[1..],
            _ => panic!("what is {rest:?} in {expression:?}?"),
        };
        rest = after.trim_start();
    }
    asked
}

#[track_caller]
fn matchers(inside: &str, asked: &mut Asked) {
    let mut rest = inside.trim_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').expect("an operator");
        let (label, after) = rest.split_at(end);
        let (operator, after) = after.split_once('"').expect("a value");
        let (value, after) = after.split_once('"').expect("its end");
        match (label, operator.trim()) {
            ("__name__", "=" | "=~") => asked.metrics.extend(value.split('|').map(str::to_owned)),
            (_, operator) => asked.matchers.push((label.to_owned(), operator.to_owned(), value.to_owned())),
        }
        rest = after.trim_start_matches([' ', ',']);
    }
}

#[test]
fn an_expression_is_read_to_the_last_label() {
    let read = asked(
        "clamp(sum by (a, b) (increase(one{c=~\"$d\", e=\"f\"}[1d])) > 0, 0, 1.5) \
         and on (g) {__name__=~\"two|three\",h!=\"\"} or up unless four == bool 1",
    );
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(read.metrics, set(&["one", "two", "three", "up", "four"]));
    assert_eq!(read.grouped, set(&["a", "b", "g"]));
    let matchers = [("c", "=~", "$d"), ("e", "=", "f"), ("h", "!=", "")];
    assert_eq!(read.matchers, matchers.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
}
