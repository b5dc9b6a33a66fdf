//! The grammar of label selectors.

use super::label::{Operator, Requirement};
use crate::error::FieldError;
use crate::kinds::names;

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Why a text is not a label selector, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabelSelectorError {
    /// Something else stands where a requirement should begin or end.
    #[error("found '{found}', expected: {expected}")]
    Between {
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// Something else stands within a requirement.
    #[error("unable to parse requirement: found '{found}', expected: {expected}")]
    Within {
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A set of values does not begin with a parenthesis.
    #[error("unable to parse requirement: found '{found}' expected: '('")]
    NoSet {
        /// What stands there.
        found: String,
    },
    /// A key or value is malformed.
    #[error("unable to parse requirement: {0}")]
    Malformed(Box<FieldError>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    End,
    Close,
    Comma,
    Not,
    Compare(Operator, &'static str),
    Word(String),
    Open,
}

impl Token {
    fn literal(&self) -> String {
        match self {
            Self::End => "",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::Compare(_, literal) => literal,
            Self::Word(word) => word,
            Self::Open => "(",
        }
        .to_owned()
    }

    /// The operator a word spells where an operator is expected: `in` is a fine label value elsewhere.
    fn operator(&self) -> Option<Operator> {
        match self {
            Self::Compare(operator, _) => Some(*operator),
            Self::Word(word) if word == "in" => Some(Operator::In),
            Self::Word(word) if word == "notin" => Some(Operator::NotIn),
            _ => None,
        }
    }
}

/// Longest first, so that `==` is not read as two.
const SYMBOLS: &[(&str, Token)] = &[
    ("==", Token::Compare(Operator::Equals, "==")),
    ("!=", Token::Compare(Operator::NotEquals, "!=")),
    ("=", Token::Compare(Operator::Equals, "=")),
    (">", Token::Compare(Operator::GreaterThan, ">")),
    ("<", Token::Compare(Operator::LessThan, "<")),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    (",", Token::Comma),
];

fn tokens_of(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let (token, after) = first_token(rest);
        tokens.push(token);
        rest = after.trim_start_matches(is_blank);
    }
    tokens
}

fn first_token(text: &str) -> (Token, &str) {
    if let Some((symbol, token)) = SYMBOLS.iter().find(|(symbol, _)| text.starts_with(symbol)) {
        return (token.clone(), &text[symbol.len()..]);
    }
    let end = text.find(|c| is_blank(c) || "=!(),><".contains(c)).unwrap_or(text.len());
    (Token::Word(text[..end].to_owned()), &text[end..])
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// The requirements written in `text`, in the order they stand there.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, LabelSelectorError> {
    let mut parser = Parser { tokens: tokens_of(text).into_iter().peekable() };
    let mut requirements = Vec::new();
    let between = |token: &Token, expected| LabelSelectorError::Between { found: token.literal(), expected };
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Not => requirements.push(parser.requirement()?),
            Token::End => return Ok(requirements),
            other => return Err(between(&other, "!, identifier, or 'end of string'")),
        }
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Comma => {}
            other => return Err(between(&other, "',' or 'end of string'")),
        }
        let after_comma = parser.peek();
        if !matches!(after_comma, Token::Word(_) | Token::Not) {
            return Err(between(&after_comma, "identifier after ','"));
        }
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn peek(&mut self) -> Token {
        self.tokens.peek().cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        self.tokens.next().unwrap_or(Token::End)
    }

    fn requirement(&mut self) -> Result<Requirement, LabelSelectorError> {
        let negated = self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let key = self.key()?;
        if negated || matches!(self.peek(), Token::End | Token::Comma) {
            // `!key` takes no comparison: what follows is the caller's to stumble over.
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Ok(Requirement { key, operator, values: Vec::new() });
        }
        let token = self.next();
        let operator = token.operator().ok_or_else(|| within(&token, BINARY_OPERATORS))?;
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => vec![self.value()?],
        };
        values.sort();
        values.dedup();
        check_values(&key, operator, &values)?;
        Ok(Requirement { key, operator, values })
    }

    fn key(&mut self) -> Result<String, LabelSelectorError> {
        let key = match self.next() {
            Token::Word(word) => word,
            other => return Err(within(&other, "identifier")),
        };
        let wrong = names::label_key(&key);
        if wrong.is_empty() { Ok(key) } else { Err(malformed("<nil>".to_owned(), &key, &wrong.join("; "))) }
    }

    /// The one value of a comparison; nothing stands for the empty value.
    fn value(&mut self) -> Result<String, LabelSelectorError> {
        match self.peek() {
            Token::End | Token::Comma => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                Ok(word)
            }
            other => Err(within(&other, "identifier")),
        }
    }

    /// The values in parentheses; an empty place between commas stands for the empty value.
    fn set(&mut self) -> Result<Vec<String>, LabelSelectorError> {
        let open = self.next();
        if open != Token::Open {
            return Err(LabelSelectorError::NoSet { found: open.literal() });
        }
        let mut values = Vec::new();
        loop {
            let value = match self.peek() {
                Token::Word(word) => {
                    self.next();
                    word
                }
                Token::Comma | Token::Close => String::new(),
                other if values.is_empty() => return Err(within(&other, "',', ')' or identifier")),
                other => return Err(within(&other, "',', or identifier")),
            };
            values.push(value);
            match self.next() {
                Token::Close => return Ok(values),
                Token::Comma => {}
                other => return Err(within(&other, "',' or ')'")),
            }
        }
    }
}

fn check_values(key: &str, operator: Operator, values: &[String]) -> Result<(), LabelSelectorError> {
    for (index, value) in values.iter().enumerate() {
        let numeric = matches!(operator, Operator::GreaterThan | Operator::LessThan);
        if numeric && value.parse::<i64>().is_err() {
            let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
            return Err(malformed(format!("values[{index}]"), value, detail));
        }
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            return Err(malformed(format!("values[{index}][{key}]"), value, &wrong.join("; ")));
        }
    }
    Ok(())
}

fn within(token: &Token, expected: &'static str) -> LabelSelectorError {
    LabelSelectorError::Within { found: token.literal(), expected }
}

fn malformed(field: String, value: &str, detail: &str) -> LabelSelectorError {
    LabelSelectorError::Malformed(Box::new(FieldError::invalid(field, value, detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_kubernetes() {
        let cases = [
            ("x=a||y=b", "unable to parse requirement: values[0][x]: Invalid value: \"a||y\""),
            ("x,", "found '', expected: identifier after ','"),
            ("x=a,=", "found '=', expected: identifier after ','"),
            (",x", "found ',', expected: !, identifier, or 'end of string'"),
            ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
            ("x in a", "unable to parse requirement: found 'a' expected: '('"),
            ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("x in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
            ("x=(", "unable to parse requirement: found '(', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("x/y/z=1", "unable to parse requirement: <nil>: Invalid value: \"x/y/z\": a valid label key must consist"),
            ("x>a", "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators"),
        ];
        for (text, message) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn operator_words_may_be_keys_and_values() {
        let parsed = parse("in in (in,notin)").expect("valid");
        assert_eq!(
            parsed,
            [Requirement { key: "in".into(), operator: Operator::In, values: vec!["in".into(), "notin".into()] }]
        );
    }

    #[test]
    fn blanks_mean_nothing() {
        assert_eq!(parse(" a =\tb ,\n c "), parse("a=b,c"));
    }
}
