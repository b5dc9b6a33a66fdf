//! What users were told already.

use std::collections::BTreeSet;

use model::Rejected;

/// What was told of what stays wrong, each with the object.
#[derive(Debug, Default)]
pub(super) struct News(BTreeSet<(String, String)>);

impl News {
    /// Tells what was not told before, and whether that was taken; what is no longer so is told again when it is so
    /// again.
    #[must_use = "what was not taken is to be told again"]
    pub(super) fn tell(&mut self, rejected: &[Rejected], tell: impl FnOnce(Vec<Rejected>) -> bool) -> bool {
        let key = |rejected: &Rejected| (rejected.object.to_string(), rejected.why.clone());
        let now: BTreeSet<_> = rejected.iter().map(key).collect();
        self.0.retain(|known| now.contains(known));
        let news = rejected.iter().filter(|rejected| !self.0.contains(&key(rejected))).cloned().collect();
        let is_taken = tell(news);
        if is_taken {
            self.0 = now;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use model::{NamespacedName, RejectedReason, Subject};

    use super::*;

    fn rejected(why: &str) -> Rejected {
        let object = Subject::service(&NamespacedName::new("shop", "web"));
        Rejected { object, field: "spec.type".into(), why: why.into(), reason: RejectedReason::IPPoolExhausted }
    }

    #[test]
    fn what_stays_wrong_is_told_once_and_what_comes_back_again() {
        let mut known = News::default();
        let mut news = |rejected: &[Rejected], is_taken| {
            let mut count = 0;
            let outcome = known.tell(rejected, |news| {
                count = news.len();
                is_taken
            });
            (count, outcome)
        };
        assert_eq!(news(&[rejected("full")], false), (1, false));
        assert_eq!(news(&[rejected("full")], true), (1, true), "too many waited the last time");
        assert_eq!(news(&[rejected("full")], true), (0, true));
        assert_eq!(news(&[], true), (0, true));
        assert_eq!(news(&[rejected("full")], true), (1, true));
    }
}
