//! In which form an answer is wanted. Pure.

use crate::error::ApiError;

/// Media types the server can be asked for, as the refusal lists them.
const PRODUCED: &str = "application/json, application/json;stream=watch";

/// The form of an answer that carries objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// The objects themselves.
    #[default]
    Object,
    /// A table for people.
    Table(MetaVersion),
    /// Metadata only.
    Metadata(MetaVersion),
}

/// The version of the `meta.k8s.io` kinds that wrap objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    V1,
    V1Beta1,
}

/// The form of the lists of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscoveryForm {
    /// One list per group and version.
    Legacy,
    /// Everything in one document.
    Aggregated(DiscoveryVersion),
}

/// The version of the aggregated document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscoveryVersion {
    V2,
    V2Beta1,
}

impl MetaVersion {
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

impl DiscoveryVersion {
    pub fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }
}

/// The first form in the header that the server can produce.
pub(crate) fn form_of(accept: Option<&str>) -> Result<Form, ApiError> {
    first_match(accept, |clause| {
        let version = match clause.parameter("v") {
            Some("v1") => Some(MetaVersion::V1),
            Some("v1beta1") => Some(MetaVersion::V1Beta1),
            _ => None,
        };
        match (clause.parameter("as"), clause.parameter("g"), version) {
            (None, _, _) => Some(Form::Object),
            (Some("Table"), Some("meta.k8s.io"), Some(version)) => Some(Form::Table(version)),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), Some(version)) => {
                Some(Form::Metadata(version))
            }
            _ => None,
        }
    })
}

/// The first form of discovery in the header that the server can produce.
pub(crate) fn discovery_form_of(accept: Option<&str>) -> Result<DiscoveryForm, ApiError> {
    first_match(accept, |clause| match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
        (None, _, _) => Some(DiscoveryForm::Legacy),
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
            Some(DiscoveryForm::Aggregated(DiscoveryVersion::V2))
        }
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2beta1")) => {
            Some(DiscoveryForm::Aggregated(DiscoveryVersion::V2Beta1))
        }
        _ => None,
    })
}

fn first_match<T>(accept: Option<&str>, produce: impl Fn(&Clause<'_>) -> Option<T>) -> Result<T, ApiError> {
    let accept = accept.filter(|accept| !accept.trim().is_empty()).unwrap_or("*/*");
    accept
        .split(',')
        .map(Clause::parse)
        .filter(|clause| matches!(clause.media_type, "application/json" | "application/*" | "*/*"))
        .find_map(|clause| produce(&clause))
        .ok_or(ApiError::NotAcceptable { accepted: PRODUCED.into() })
}

/// One media type of an `Accept` header.
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        Self { media_type, parameters: parts.filter_map(|part| part.split_once('=')).collect() }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_given_in_the_first_version_asked_for() {
        let both = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                    application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form_of(Some(both)), Ok(Form::Table(MetaVersion::V1)));
        let beta = "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json";
        assert_eq!(form_of(Some(beta)), Ok(Form::Table(MetaVersion::V1Beta1)));
    }

    #[test]
    fn protobuf_is_passed_over_for_json() {
        assert_eq!(form_of(Some("application/vnd.kubernetes.protobuf,application/json")), Ok(Form::Object));
        assert_eq!(form_of(Some("application/vnd.kubernetes.protobuf")).unwrap_err().code(), 406);
    }

    #[test]
    fn nothing_in_particular_means_the_object() {
        for accept in [None, Some(""), Some("*/*"), Some("text/html, */*;q=0.8")] {
            assert_eq!(form_of(accept), Ok(Form::Object));
        }
    }

    #[test]
    fn aggregated_discovery_is_given_in_a_version_the_client_knows() {
        let new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                   application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(discovery_form_of(Some(new)), Ok(DiscoveryForm::Aggregated(DiscoveryVersion::V2)));
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(discovery_form_of(Some(old)), Ok(DiscoveryForm::Aggregated(DiscoveryVersion::V2Beta1)));
        assert_eq!(discovery_form_of(Some("application/json")), Ok(DiscoveryForm::Legacy));
    }
}
