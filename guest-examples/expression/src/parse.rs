//! The parser: recursive descent over the tokens of an expression.

use crate::node::{Binary, Comparison, Logic, Node, Unary};
use crate::token::{Token, tokens};
use crate::{MAX_TOKENS, ParseError};

/// How deep brackets and operators may be nested.
const MAX_DEPTH: usize = 50;

/// Reserved words of Python, except those that are operators or constants here.
const RESERVED: [&str; 27] = [
    "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "except",
    "finally", "for", "from", "global", "import", "lambda", "nonlocal", "pass", "raise", "return",
    "try", "while", "with", "yield", "if", "else",
];

pub(crate) fn parse(text: &str) -> Result<Node, ParseError> {
    let tokens = tokens(text)?;
    if let Some(&(column, _)) = tokens.get(MAX_TOKENS + 1) {
        let reason = format!("longer than {MAX_TOKENS} tokens");
        return Err(ParseError { column, reason });
    }
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let root = parser.choice()?;
    if *parser.peek() == Token::End { Ok(root) } else { Err(parser.unexpected()) }
}

/// One method per level of precedence, the loosest first.
struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

type Parsed = Result<Node, ParseError>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn take_one_of<T: Copy>(&mut self, signs: &[(&str, T)]) -> Option<T> {
        let found = signs.iter().find(|(sign, _)| self.is_sign(sign)).map(|&(_, meaning)| meaning);
        self.at += usize::from(found.is_some());
        found
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn error(&self, reason: impl Into<String>) -> ParseError {
        ParseError { column: self.tokens[self.at].0, reason: reason.into() }
    }

    fn unexpected(&self) -> ParseError {
        match self.peek() {
            Token::End => self.error("unexpected end of the expression; a value is missing"),
            Token::Sign("=") => self.error("unexpected '='; use '==' to compare"),
            Token::Sign(sign @ ("|" | "&" | "^" | "~" | "<<" | ">>" | "@" | ":=")) => {
                self.error(format!("the operator '{sign}' is not available in expressions"))
            }
            Token::Sign("{" | "}") => self.error("braces are not available in expressions"),
            Token::Sign(sign) => self.error(format!("unexpected '{sign}'")),
            Token::Word(word) if RESERVED.contains(&word.as_str()) => {
                self.error(format!("'{word}' is not available in expressions"))
            }
            Token::Word(word) => self.error(format!("unexpected '{word}'")),
            Token::Int(_) | Token::Float(_) => self.error("unexpected number"),
            Token::Text(_) => self.error("unexpected string"),
        }
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.take_sign(sign) {
            Ok(())
        } else if *self.peek() == Token::End {
            Err(self.error(format!("missing '{sign}' at the end")))
        } else {
            Err(self.unexpected())
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Parsed) -> Parsed {
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    fn choice(&mut self) -> Parsed {
        let value = self.or()?;
        if !self.take_word("if") {
            return Ok(value);
        }
        let condition = self.or()?;
        if !self.take_word("else") {
            return Err(self.error("missing 'else': x if condition else y"));
        }
        let otherwise = self.nested(Self::choice)?;
        Ok(Node::Choice(Box::new([condition, value, otherwise])).folded())
    }

    fn or(&mut self) -> Parsed {
        self.logic("or", Logic::Or, Self::and)
    }

    fn and(&mut self) -> Parsed {
        self.logic("and", Logic::And, Self::not)
    }

    fn logic(&mut self, word: &str, logic: Logic, operand: fn(&mut Self) -> Parsed) -> Parsed {
        let mut left = operand(self)?;
        while self.take_word(word) {
            let right = operand(self)?;
            left = Node::Logic(logic, Box::new([left, right])).folded();
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed {
        if self.take_word("not") {
            let operand = self.nested(Self::not)?;
            return Ok(Node::Unary(Unary::Not, Box::new(operand)).folded());
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed {
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some(comparison) = self.comparison_sign() {
            let identity = matches!(comparison, Comparison::Is | Comparison::IsNot);
            let at = self.at;
            let right = match comparison {
                Comparison::In | Comparison::NotIn => self.members()?,
                _ => self.sum()?,
            };
            if identity && !right.is_singleton() {
                self.at = at;
                return Err(self.error("'is' compares with None, True and False; use == here"));
            }
            rest.push((comparison, right));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Node::Compare(Box::new(first), rest).folded())
    }

    fn comparison_sign(&mut self) -> Option<Comparison> {
        use Comparison as C;
        let signs = [
            ("==", C::Equal),
            ("!=", C::NotEqual),
            ("<", C::Less),
            ("<=", C::LessOrEqual),
            (">", C::Greater),
            (">=", C::GreaterOrEqual),
        ];
        if let Some(found) = self.take_one_of(&signs) {
            return Some(found);
        }
        if self.take_word("in") {
            return Some(C::In);
        }
        if self.take_word("is") {
            return Some(if self.take_word("not") { C::IsNot } else { C::Is });
        }
        let not_in = self.is_word("not")
            && matches!(&self.tokens[self.at + 1].1, Token::Word(word) if word == "in");
        self.at += 2 * usize::from(not_in);
        not_in.then_some(C::NotIn)
    }

    /// The operand of `in`, the only place where list literals are allowed.
    fn members(&mut self) -> Parsed {
        let start = self.at;
        let end = if self.take_sign("[") {
            "]"
        } else if self.take_sign("(") {
            ")"
        } else {
            return self.sum();
        };
        let mut members = Vec::new();
        let mut commas = 0;
        while !self.is_sign(end) {
            members.push(self.nested(Self::choice)?);
            if !self.take_sign(",") {
                break;
            }
            commas += 1;
        }
        self.expect_sign(end)?;
        if end == ")" && commas == 0 && !members.is_empty() {
            // Parentheses around one value, not a list.
            self.at = start;
            return self.sum();
        }
        Ok(Node::Members(members))
    }

    fn sum(&mut self) -> Parsed {
        let signs = [("+", Binary::Add), ("-", Binary::Subtract)];
        self.binary(&signs, Self::product)
    }

    fn product(&mut self) -> Parsed {
        let signs = [
            ("*", Binary::Multiply),
            ("/", Binary::Divide),
            ("//", Binary::FloorDivide),
            ("%", Binary::Modulo),
        ];
        self.binary(&signs, Self::unary)
    }

    fn binary(&mut self, signs: &[(&str, Binary)], operand: fn(&mut Self) -> Parsed) -> Parsed {
        let mut left = operand(self)?;
        while let Some(operator) = self.take_one_of(signs) {
            let right = operand(self)?;
            left = Node::Binary(operator, Box::new([left, right])).folded();
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let signs = [("-", Unary::Minus), ("+", Unary::Plus)];
        if let Some(operator) = self.take_one_of(&signs) {
            let operand = self.nested(Self::unary)?;
            return Ok(Node::Unary(operator, Box::new(operand)).folded());
        }
        let base = self.primary()?;
        if self.take_sign("**") {
            // Binds tighter than a unary operator on its left, looser than one on its right.
            let exponent = self.nested(Self::unary)?;
            return Ok(Node::Binary(Binary::Power, Box::new([base, exponent])).folded());
        }
        Ok(base)
    }

    fn primary(&mut self) -> Parsed {
        let mut value = self.atom()?;
        loop {
            if self.take_sign(".") {
                let Token::Word(name) = self.peek().clone() else { return Err(self.unexpected()) };
                self.at += 1;
                value = Node::Key(Box::new(value), name);
            } else if self.take_sign("[") {
                value = self.item(value)?;
            } else if self.is_sign("(") {
                let called =
                    value.last_name().map_or(String::new(), |name| format!(" {name}(...)"));
                let reason = format!("calls are not available in expressions:{called}");
                return Err(self.error(reason.trim_end_matches(':')));
            } else {
                return Ok(value);
            }
        }
    }

    fn item(&mut self, object: Node) -> Parsed {
        if self.is_sign(":") {
            return Err(self.error("slices are not available in expressions"));
        }
        let key = self.nested(Self::choice)?;
        if self.is_sign(":") {
            return Err(self.error("slices are not available in expressions"));
        }
        self.expect_sign("]")?;
        Ok(match key {
            // The same as attribute access, as in Ceilometer's namespaces.
            Node::Text(name) if !object.is_constant() => Node::Key(Box::new(object), name),
            key => Node::Item(Box::new([object, key])).folded(),
        })
    }

    fn atom(&mut self) -> Parsed {
        let token = self.peek().clone();
        if let Token::Word(word) = &token
            && (RESERVED.contains(&word.as_str())
                || ["and", "or", "not", "in", "is"].contains(&word.as_str()))
        {
            return Err(self.unexpected());
        }
        let node = match token {
            Token::Int(number) => Node::Int(number),
            Token::Float(number) => Node::Float(number),
            Token::Text(text) => Node::Text(text),
            Token::Word(word) => match word.as_str() {
                "True" => Node::Bool(true),
                "False" => Node::Bool(false),
                "None" => Node::None,
                _ => Node::Name(word),
            },
            Token::Sign("(") => return self.bracket(),
            Token::Sign("[") => {
                return Err(self.error("lists are only available after 'in'"));
            }
            Token::Sign(_) | Token::End => return Err(self.unexpected()),
        };
        self.at += 1;
        if let Node::Text(mut text) = node {
            // Adjacent strings are concatenated.
            while let Token::Text(more) = self.peek() {
                text.push_str(more);
                self.at += 1;
            }
            return Ok(Node::Text(text));
        }
        Ok(node)
    }

    fn bracket(&mut self) -> Parsed {
        self.at += 1;
        let inner = self.nested(Self::choice)?;
        if self.is_sign(",") {
            return Err(self.error("lists are only available after 'in'"));
        }
        self.expect_sign(")")?;
        Ok(inner)
    }
}
