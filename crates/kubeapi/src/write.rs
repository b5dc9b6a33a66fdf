//! What may become of a write.

use model::Subject;

/// A write to the API server that did not succeed, by what is known of the object afterwards.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object could not be read first. Nothing was written.
    #[error("cannot read {object}")]
    Unread {
        /// The object.
        object: Subject,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The API server says no. Nothing was written, and the same is refused again until something changes.
    #[error("the API server refuses a write to {object}")]
    Refused {
        /// The object.
        object: Subject,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The object is not as it was when the write was decided. Nothing was written; a newer snapshot decides anew.
    #[error("cannot write {object}: it is not as it was when that was decided")]
    Changed {
        /// The object.
        object: Subject,
    },
    /// Nobody said what became of the write: it may be in force, now or soon.
    #[error("no answer to a write to {object}")]
    Unanswered {
        /// The object.
        object: Subject,
        /// What came in place of an answer.
        source: Box<kube::Error>,
    },
}

impl WriteError {
    /// Why a write came to nothing, by what was answered.
    pub(crate) fn of(object: Subject, error: kube::Error) -> Self {
        let source = Box::new(error);
        match &*source {
            kube::Error::Api(status) if status.is_conflict() => Self::Changed { object },
            kube::Error::Api(status) if (400..500).contains(&status.code) => Self::Refused { object, source },
            // An API server that fails, or gives up waiting for its store, may have written nevertheless.
            _ => Self::Unanswered { object, source },
        }
    }

    /// Whether what was to be written may be in force, or be so soon.
    pub const fn may_be_in_force(&self) -> bool {
        matches!(self, Self::Unanswered { .. })
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use model::Name;

    use super::*;

    #[test]
    fn only_an_answer_tells_that_nothing_was_written() {
        let of = |error| WriteError::of(Subject::node(&Name::from("n1")), error);
        let answered = |code, reason: &str| {
            let status = Status { code, reason: reason.into(), ..Status::default() };
            of(kube::Error::Api(Box::new(status)))
        };
        for (code, reason) in [(403, "Forbidden"), (404, "NotFound"), (409, "Conflict"), (422, "Invalid"), (429, "")] {
            assert!(!answered(code, reason).may_be_in_force(), "{code}");
        }
        for (code, reason) in [(500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")] {
            assert!(answered(code, reason).may_be_in_force(), "{code}");
        }
        assert!(of(kube::Error::LinesCodecMaxLineLengthExceeded).may_be_in_force(), "no answer at all");
        assert!(matches!(answered(409, "Conflict"), WriteError::Changed { .. }));
    }
}
