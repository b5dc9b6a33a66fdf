//! Whether an endpoint is to get new connections: the one decision, from which plans, health checks, names and
//! announcements derive theirs.

use crate::{Endpoint, Service};

/// How fit an endpoint is to get new connections of its Service; the fitter, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// It gets none.
    Unfit,
    /// It gets some only while none is ready: it still serves, though it terminates (KEP-1669).
    ServesLast,
    /// It gets its share.
    Ready,
}

impl Service {
    /// How fit one of its endpoints is. One that is not ready and does not terminate is unfit even where it is said to
    /// serve: that condition means more than the first only while an endpoint terminates (KEP-1672).
    pub const fn fitness_of(&self, endpoint: &Endpoint) -> Fitness {
        if endpoint.ready || self.publish_not_ready {
            Fitness::Ready
        } else if endpoint.serving && endpoint.terminating {
            Fitness::ServesLast
        } else {
            Fitness::Unfit
        }
    }

    /// The fittest of some of its endpoints, in their order and with what stands beside them: the ready ones or, when
    /// there is none, those that serve last. Empty when none is fit.
    pub fn fittest<'a, T>(&self, endpoints: impl IntoIterator<Item = (T, &'a Endpoint)>) -> Vec<(T, &'a Endpoint)> {
        let mut best = Fitness::ServesLast;
        let mut fittest = Vec::new();
        for (beside, endpoint) in endpoints {
            let fitness = self.fitness_of(endpoint);
            if fitness > best {
                best = fitness;
                fittest.clear();
            }
            if fitness == best {
                fittest.push((beside, endpoint));
            }
        }
        fittest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NamespacedName, ServiceKind};

    fn service() -> Service {
        Service::new(NamespacedName::new("shop", "web"), ServiceKind::Headless { families: vec![] })
    }

    /// An endpoint that is `ready`, `serving` and `terminating` as given.
    fn endpoint(ready: bool, serving: bool, terminating: bool) -> Endpoint {
        Endpoint { ready, serving, terminating, ..Endpoint::new([10, 244, 0, 1].into()) }
    }

    #[test]
    fn an_endpoint_serves_last_only_while_it_terminates() {
        let published = Service { publish_not_ready: true, ..service() };
        for (conditions, expected) in [
            ((true, true, false), Fitness::Ready),
            ((true, true, true), Fitness::Ready),
            ((false, true, true), Fitness::ServesLast),
            ((false, true, false), Fitness::Unfit),
            ((false, false, true), Fitness::Unfit),
            ((false, false, false), Fitness::Unfit),
        ] {
            let endpoint = endpoint(conditions.0, conditions.1, conditions.2);
            assert_eq!(service().fitness_of(&endpoint), expected, "{endpoint:?}");
            assert_eq!(published.fitness_of(&endpoint), Fitness::Ready, "{endpoint:?}");
        }
    }

    #[test]
    fn the_fittest_are_those_that_serve_last_only_when_none_is_ready() {
        let (ready, last, unfit) =
            (endpoint(true, true, false), endpoint(false, true, true), endpoint(false, false, false));
        let fittest = |endpoints: &[&Endpoint]| -> Vec<usize> {
            let numbered = endpoints.iter().copied().enumerate();
            service().fittest(numbered).into_iter().map(|(index, _)| index).collect()
        };
        assert_eq!(fittest(&[&last, &ready, &unfit, &last, &ready]), [1, 4]);
        assert_eq!(fittest(&[&unfit, &last, &last]), [1, 2]);
        assert_eq!(fittest(&[&unfit]), [0; 0]);
    }
}
