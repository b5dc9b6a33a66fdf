//! Who computes the checksums of what a link sends: the kernel, or the hardware behind the link.

use std::ffi::c_void;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;

use super::{RouteError, Rtnetlink};

/// `linux/sockios.h` and `linux/ethtool.h`. Netlink has this in a family of its own, which older kernels lack.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const NAME_LEN: usize = 16;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`, whose second part is a union as long as `struct ifmap`.
#[repr(C)]
struct Request {
    name: [u8; NAME_LEN],
    value: *mut c_void,
    rest: [u8; 16],
}

impl Rtnetlink {
    /// Whether the checksums of what a link sends are left to whatever is behind it.
    pub fn is_checksum_offloaded(&self, link: &str) -> Result<bool, RouteError> {
        let answer = self.ethtool(link, Value { command: ETHTOOL_GTXCSUM, data: 0 });
        let answer = answer.map_err(|source| RouteError::ReadChecksumOffload { link: link.to_owned(), source })?;
        Ok(answer != 0)
    }

    /// Leaves the checksums of what a link sends to whatever is behind it, or has the kernel compute them.
    pub fn set_checksum_offload(&self, link: &str, offload: bool) -> Result<(), RouteError> {
        let set = self.ethtool(link, Value { command: ETHTOOL_STXCSUM, data: offload.into() });
        set.map(drop).map_err(|source| RouteError::SetChecksumOffload { link: link.to_owned(), source })
    }

    fn ethtool(&self, link: &str, mut value: Value) -> Result<u32, Errno> {
        let mut name = [0; NAME_LEN];
        // The last byte stays zero: it ends the name.
        let room = name.get_mut(..link.len()).filter(|room| room.len() < NAME_LEN);
        room.ok_or(Errno::ENODEV)?.copy_from_slice(link.as_bytes());
        let mut request = Request { name, value: (&raw mut value).cast(), rest: [0; 16] };
        // SAFETY: the request has the layout and size of `struct ifreq`, its name ends with a zero, and `value` points to
        // a live `struct ethtool_value`, which is all that both commands read and write.
        let done = unsafe { libc::ioctl(self.control.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        Errno::result(done)?;
        Ok(value.data)
    }
}
