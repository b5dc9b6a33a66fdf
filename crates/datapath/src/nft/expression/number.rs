//! Attributes and values of each expression, from `linux/netfilter/nf_tables.h`.

pub(super) mod immediate {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const DATA: u16 = 2;
}

pub(super) mod meta {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const KEY: u16 = 2;
    pub(in crate::nft) const SREG: u16 = 3;
    pub(in crate::nft) const MARK: u32 = 3;
}

pub(super) mod cmp {
    pub(in crate::nft) const SREG: u16 = 1;
    pub(in crate::nft) const OP: u16 = 2;
    pub(in crate::nft) const DATA: u16 = 3;
    pub(in crate::nft) const EQ: u32 = 0;
    pub(in crate::nft) const NEQ: u32 = 1;
}

pub(super) mod bitwise {
    pub(in crate::nft) const SREG: u16 = 1;
    pub(in crate::nft) const DREG: u16 = 2;
    pub(in crate::nft) const LENGTH: u16 = 3;
    pub(in crate::nft) const MASK: u16 = 4;
    pub(in crate::nft) const XOR: u16 = 5;
}

pub(super) mod lookup {
    pub(in crate::nft) const SET: u16 = 1;
    pub(in crate::nft) const SREG: u16 = 2;
    pub(in crate::nft) const DREG: u16 = 3;
    pub(in crate::nft) const FLAGS: u16 = 5;
    pub(in crate::nft) const FLAG_INVERT: u32 = 1;
}

pub(super) mod dynset {
    pub(in crate::nft) const SET: u16 = 1;
    pub(in crate::nft) const OPERATION: u16 = 3;
    pub(in crate::nft) const SREG_KEY: u16 = 4;
    pub(in crate::nft) const SREG_DATA: u16 = 5;
    pub(in crate::nft) const TIMEOUT_MS: u16 = 6;
    pub(in crate::nft) const ADD: u32 = 0;
    pub(in crate::nft) const UPDATE: u32 = 1;
    pub(in crate::nft) const DELETE: u32 = 2;
}

pub(super) mod fib {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const RESULT: u16 = 2;
    pub(in crate::nft) const FLAGS: u16 = 3;
    /// `NFT_FIB_RESULT_OIF`.
    pub(in crate::nft) const OUTPUT_INTERFACE: u32 = 1;
    /// `NFT_FIB_RESULT_ADDRTYPE`.
    pub(in crate::nft) const ADDRESS_TYPE: u32 = 3;
    /// `NFTA_FIB_F_SADDR`.
    pub(in crate::nft) const SOURCE: u32 = 1;
    /// `NFTA_FIB_F_IIF`.
    pub(in crate::nft) const INPUT_INTERFACE: u32 = 1 << 3;
    /// `NFTA_FIB_F_PRESENT`: the result is whether there is any.
    pub(in crate::nft) const IS_PRESENT: u32 = 1 << 5;
    /// `NFTA_FIB_F_DADDR`.
    pub(in crate::nft) const DESTINATION: u32 = 1 << 1;
    /// `RTN_LOCAL` of `linux/rtnetlink.h`.
    pub(in crate::nft) const LOCAL: u32 = 2;
}

pub(super) mod nat {
    pub(in crate::nft) const TYPE: u16 = 1;
    pub(in crate::nft) const FAMILY: u16 = 2;
    pub(in crate::nft) const REG_ADDRESS: u16 = 3;
    pub(in crate::nft) const REG_PORT: u16 = 5;
    pub(in crate::nft) const SOURCE: u32 = 0;
    pub(in crate::nft) const DESTINATION: u32 = 1;
}

pub(super) mod masq {
    pub(in crate::nft) const FLAGS: u16 = 1;
    pub(in crate::nft) const RANDOM_FULLY: u32 = 1 << 4;
}

pub(super) mod reject {
    pub(in crate::nft) const TYPE: u16 = 1;
    pub(in crate::nft) const ICMP_CODE: u16 = 2;
    pub(in crate::nft) const TCP_RESET: u32 = 1;
    pub(in crate::nft) const ICMPX_UNREACHABLE: u32 = 2;
    pub(in crate::nft) const ICMPX_PORT_UNREACHABLE: u8 = 1;
}

pub(super) mod numgen {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const MODULUS: u16 = 2;
    pub(in crate::nft) const TYPE: u16 = 3;
    pub(in crate::nft) const OFFSET: u16 = 4;
    pub(in crate::nft) const RANDOM: u32 = 1;
}

pub(super) mod payload {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const BASE: u16 = 2;
    pub(in crate::nft) const OFFSET: u16 = 3;
    pub(in crate::nft) const LENGTH: u16 = 4;
    pub(in crate::nft) const NETWORK_HEADER: u32 = 1;
    pub(in crate::nft) const TRANSPORT_HEADER: u32 = 2;
}

pub(super) mod ct {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const KEY: u16 = 2;
    pub(in crate::nft) const DIRECTION: u16 = 3;
    pub(in crate::nft) const STATE: u32 = 0;
    pub(in crate::nft) const WAY: u32 = 1;
    pub(in crate::nft) const STATUS: u32 = 2;
    pub(in crate::nft) const PROTOCOL_DESTINATION: u32 = 12;
    pub(in crate::nft) const DESTINATION_IP: u32 = 20;
    pub(in crate::nft) const DESTINATION_IP6: u32 = 22;
}

pub(super) mod counter {
    pub(in crate::nft) const BYTES: u16 = 1;
    pub(in crate::nft) const PACKETS: u16 = 2;
}
