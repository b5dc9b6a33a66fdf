//! Versions of the CNI specification.

use std::fmt;

use serde::Deserialize;
use serde_json::json;

use crate::CniError;
use crate::command::Answer;

/// A version of the CNI specification this plugin speaks. Later ones compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.1
    V0_3_1,
    /// 0.4.0, which brought `CHECK`.
    V0_4_0,
    /// 1.0.0
    V1_0_0,
    /// 1.1.0, which brought `GC` and `STATUS`.
    V1_1_0,
}

impl Version {
    /// The newest of them.
    pub const NEWEST: Self = Self::V1_1_0;
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// As configurations write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version `text` names, if it is one of these.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Answers `VERSION`, in the version asked for where there is one.
pub(crate) fn answer(input: &[u8]) -> Result<Answer, CniError> {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(rename = "cniVersion")]
        version: Option<String>,
    }
    let asked = match input.trim_ascii() {
        [] => None,
        text => serde_json::from_slice::<Asked>(text).map_err(|source| CniError::Decode { source })?.version,
    };
    let version = asked.unwrap_or_else(|| Version::NEWEST.to_string());
    let supported = Version::ALL.map(Version::as_str);
    Ok(Answer::Object(json!({ "cniVersion": version, "supportedVersions": supported })))
}
