//! What goes wrong between us and the kernel.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::attribute::{parse_attributes, parse_text, parse_u32};
use super::message::HEADER_LEN;

/// A netlink exchange that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket of this family: the kernel lacks it, or file descriptors ran out.
    #[error("cannot open a {family} netlink socket")]
    Open {
        /// The netlink family.
        family: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket's send buffer could not be read or enlarged.
    #[error("cannot make room for a request of {length} bytes over netlink")]
    Reserve {
        /// Length of the request.
        length: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The request did not reach the kernel.
    #[error("cannot send {length} bytes over netlink")]
    Send {
        /// Length of the request.
        length: usize,
        /// Why; `EMSGSIZE` when the request exceeds the socket's send buffer.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer did not reach us; `ENOBUFS` when it did not fit the receive buffer.
    #[error("cannot receive over netlink")]
    Receive {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error(transparent)]
    Refused(#[from] KernelRefusal),
    /// A listing changed while it was read, again and again.
    #[error("the listing changed {attempts} times while it was read")]
    Unstable {
        /// How often it was tried.
        attempts: u32,
    },
    /// The kernel answered something that cannot be understood.
    #[error("cannot understand the kernel's answer: {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
}

impl NetlinkError {
    /// The kernel's errno, when it was the kernel that said no.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            Self::Open { source, .. }
            | Self::Reserve { source, .. }
            | Self::Send { source, .. }
            | Self::Receive { source } => source.raw_os_error().map(Errno::from_raw),
            Self::Unstable { .. } | Self::Malformed { .. } => None,
        }
    }

    /// Whether the same request may succeed if tried again later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unstable { .. })
            || matches!(
                self.errno(),
                Some(Errno::ENOBUFS | Errno::EINTR | Errno::EAGAIN | Errno::EBUSY | Errno::ENOMEM)
            )
    }
}

/// The kernel's own words for a refusal: the errno and, where it gave one, its extended acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KernelRefusal {
    /// The error number.
    pub errno: Errno,
    /// The kernel's sentence about it.
    pub explanation: Option<String>,
    /// Offset of the offending attribute in the request.
    pub offset: Option<u32>,
}

impl fmt::Display for KernelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel said {} ({:?})", self.errno.desc(), self.errno)?;
        if let Some(explanation) = &self.explanation {
            write!(f, ": {explanation}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", at byte {offset} of the request")?;
        }
        Ok(())
    }
}

/// `NLM_F_CAPPED`: the error carries only the header of the request it answers.
const FLAG_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow.
const FLAG_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG` and `NLMSGERR_ATTR_OFFS` of `linux/netlink.h`.
const ATTR_MSG: u16 = 1;
const ATTR_OFFS: u16 = 2;

/// Reads the payload of an `NLMSG_ERROR`; `None` is an acknowledgement.
pub(crate) fn parse_refusal(flags: u16, payload: &[u8]) -> Result<Option<KernelRefusal>, NetlinkError> {
    const SHORT: NetlinkError = NetlinkError::Malformed { what: "an error number and the header it answers" };
    let (code, request) = payload.split_first_chunk::<4>().ok_or(SHORT)?;
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(None);
    }
    let mut refusal = KernelRefusal { errno: Errno::from_raw(-code), explanation: None, offset: None };
    if flags & FLAG_ACK_TLVS != 0 {
        let request_length = parse_u32(request).ok_or(SHORT)? as usize;
        let skipped = if flags & FLAG_CAPPED != 0 { HEADER_LEN } else { request_length.next_multiple_of(4) };
        for (kind, value) in parse_attributes(request.get(skipped..).unwrap_or_default()) {
            match kind {
                ATTR_MSG => refusal.explanation = Some(parse_text(value)),
                ATTR_OFFS => refusal.offset = parse_u32(value),
                _ => {}
            }
        }
    }
    Ok(Some(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Attributes;

    #[test]
    fn a_refusal_carries_the_kernels_sentence() {
        let mut payload = (-17_i32).to_ne_bytes().to_vec();
        payload.extend([36, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let mut details = Attributes::new();
        details.text(ATTR_MSG, "already there").u32(ATTR_OFFS, 20);
        payload.extend(details.as_bytes());
        let refusal = parse_refusal(FLAG_CAPPED | FLAG_ACK_TLVS, &payload).unwrap().unwrap();
        assert_eq!(
            refusal,
            KernelRefusal { errno: Errno::EEXIST, explanation: Some("already there".into()), offset: Some(20) }
        );
        assert_eq!(refusal.to_string(), "kernel said File exists (EEXIST): already there, at byte 20 of the request");
    }

    #[test]
    fn a_zero_code_is_an_acknowledgement() {
        assert_eq!(parse_refusal(0, &[0; 20]).unwrap(), None);
    }

    #[test]
    fn a_short_error_is_malformed() {
        assert!(matches!(parse_refusal(0, &[1, 2]), Err(NetlinkError::Malformed { .. })));
    }
}
