//! The ends of ranges in sorted sets, and their text in commands.

use crate::text::double;

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score at the end.
    pub score: f64,
    /// Whether the range leaves that score itself out.
    pub exclusive: bool,
}

impl ScoreBound {
    /// The lowest minimum.
    pub const MIN: ScoreBound = ScoreBound {
        score: f64::NEG_INFINITY,
        exclusive: false,
    };
    /// The highest maximum.
    pub const MAX: ScoreBound = ScoreBound {
        score: f64::INFINITY,
        exclusive: false,
    };

    /// Parses `1.5`, `(1.5`, `-inf`, `+inf`; `None` where Redis says "min or max is not a float".
    pub fn parse(text: &[u8]) -> Option<ScoreBound> {
        let (exclusive, number) = match text {
            [b'(', number @ ..] => (true, number),
            number => (false, number),
        };
        Some(ScoreBound {
            score: double::parse_lenient(number)?,
            exclusive,
        })
    }

    /// Whether `score` is below a range that begins here.
    pub(super) fn is_below_min(&self, score: f64) -> bool {
        score < self.score || (self.exclusive && score == self.score)
    }

    /// Whether `score` is not above a range that ends here.
    pub(super) fn is_within_max(&self, score: f64) -> bool {
        score < self.score || (!self.exclusive && score == self.score)
    }
}

/// One end of a range of members with equal scores, in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LexBound {
    /// `-`: before every member.
    Min,
    /// `+`: after every member.
    Max,
    /// `[member`: the range includes it.
    Inclusive(Box<[u8]>),
    /// `(member`: the range leaves it out.
    Exclusive(Box<[u8]>),
}

impl LexBound {
    /// Parses `-`, `+`, `[member`, `(member`; `None` where Redis says "min or max not valid string range item".
    pub fn parse(text: &[u8]) -> Option<LexBound> {
        match text {
            b"-" => Some(LexBound::Min),
            b"+" => Some(LexBound::Max),
            [b'[', member @ ..] => Some(LexBound::Inclusive(member.into())),
            [b'(', member @ ..] => Some(LexBound::Exclusive(member.into())),
            _ => None,
        }
    }

    /// Whether `member` is below a range that begins here.
    pub(super) fn is_below_min(&self, member: &[u8]) -> bool {
        match self {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Inclusive(bound) => *member < **bound,
            LexBound::Exclusive(bound) => *member <= **bound,
        }
    }

    /// Whether `member` is not above a range that ends here.
    pub(super) fn is_within_max(&self, member: &[u8]) -> bool {
        match self {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Inclusive(bound) => *member <= **bound,
            LexBound::Exclusive(bound) => *member < **bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_bounds_parse() {
        let bound = |score, exclusive| Some(ScoreBound { score, exclusive });
        assert_eq!(ScoreBound::parse(b"(1.5"), bound(1.5, true));
        assert_eq!(ScoreBound::parse(b"-inf"), bound(f64::NEG_INFINITY, false));
        assert_eq!(ScoreBound::parse(b"(+inf"), bound(f64::INFINITY, true));
        assert_eq!(ScoreBound::parse(b"("), bound(0.0, true));
        for text in ["nan", "((1", "1x", "-", "+", "[1"] {
            assert_eq!(ScoreBound::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lex_bounds_parse() {
        assert_eq!(LexBound::parse(b"-"), Some(LexBound::Min));
        assert_eq!(LexBound::parse(b"["), Some(LexBound::Inclusive([].into())));
        assert_eq!(
            LexBound::parse(b"((a"),
            Some(LexBound::Exclusive((*b"(a").into()))
        );
        for text in ["", "a", "-a", "+a"] {
            assert_eq!(LexBound::parse(text.as_bytes()), None, "{text}");
        }
    }
}
