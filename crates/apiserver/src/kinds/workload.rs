//! Kinds that keep pods running.

use super::{Generation, Rules};

pub(super) static DEPLOYMENT: Rules = Rules { generation: Generation::ContentAndAnnotations, ..Rules::PLAIN };
