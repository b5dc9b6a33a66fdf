//! Numbers of the kernel's interface, from `linux/netfilter/nf_tables.h` and `linux/netfilter/nfnetlink.h`.

/// `NFNL_SUBSYS_NFTABLES`: the high byte of every message kind, and the batch's resource.
pub(super) const SUBSYSTEM: u8 = 10;
/// `NFPROTO_INET`.
pub(super) const FAMILY_INET: u8 = 1;
pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
/// `enum ip_conntrack_dir` of `nf_conntrack_tuple_common.h`.
pub(super) const IP_CT_DIR_ORIGINAL: u8 = 0;
pub(super) const IP_CT_DIR_REPLY: u8 = 1;

/// Message kinds.
pub(super) mod message {
    use super::SUBSYSTEM;

    const fn kind(low: u8) -> u16 {
        u16::from_be_bytes([SUBSYSTEM, low])
    }

    pub(in crate::nft) const BATCH_BEGIN: u16 = 16;
    pub(in crate::nft) const BATCH_END: u16 = 17;
    pub(in crate::nft) const NEW_TABLE: u16 = kind(0);
    pub(in crate::nft) const GET_TABLE: u16 = kind(1);
    pub(in crate::nft) const DEL_TABLE: u16 = kind(2);
    pub(in crate::nft) const NEW_CHAIN: u16 = kind(3);
    pub(in crate::nft) const GET_CHAIN: u16 = kind(4);
    pub(in crate::nft) const DEL_CHAIN: u16 = kind(5);
    pub(in crate::nft) const NEW_RULE: u16 = kind(6);
    pub(in crate::nft) const GET_RULE: u16 = kind(7);
    pub(in crate::nft) const DEL_RULE: u16 = kind(8);
    pub(in crate::nft) const NEW_SET: u16 = kind(9);
    pub(in crate::nft) const GET_SET: u16 = kind(10);
    pub(in crate::nft) const DEL_SET: u16 = kind(11);
    pub(in crate::nft) const NEW_ELEMENTS: u16 = kind(12);
    pub(in crate::nft) const GET_ELEMENTS: u16 = kind(13);
    pub(in crate::nft) const DEL_ELEMENTS: u16 = kind(14);
    pub(in crate::nft) const GET_GENERATION: u16 = kind(16);
}

/// `NFTA_LIST_ELEM`: an entry of any list.
pub(super) const LIST_ELEMENT: u16 = 1;

/// `NFTA_TABLE_*`.
pub(super) mod table {
    pub(in crate::nft) const NAME: u16 = 1;
    pub(in crate::nft) const FLAGS: u16 = 2;
}

/// `NFTA_CHAIN_*` and `NFTA_HOOK_*`.
pub(super) mod chain {
    pub(in crate::nft) const TABLE: u16 = 1;
    pub(in crate::nft) const NAME: u16 = 3;
    pub(in crate::nft) const HOOK: u16 = 4;
    pub(in crate::nft) const POLICY: u16 = 5;
    pub(in crate::nft) const TYPE: u16 = 7;
    pub(in crate::nft) const HOOK_NUMBER: u16 = 1;
    pub(in crate::nft) const HOOK_PRIORITY: u16 = 2;
}

/// `NFTA_RULE_*` and `NFTA_EXPR_*`.
pub(super) mod rule {
    pub(in crate::nft) const TABLE: u16 = 1;
    pub(in crate::nft) const CHAIN: u16 = 2;
    pub(in crate::nft) const EXPRESSIONS: u16 = 4;
    pub(in crate::nft) const USERDATA: u16 = 7;
    pub(in crate::nft) const EXPRESSION_NAME: u16 = 1;
    pub(in crate::nft) const EXPRESSION_DATA: u16 = 2;
}

/// `NFTA_SET_*`, `NFTA_SET_DESC_*` and `NFT_SET_*` flags.
pub(super) mod set {
    pub(in crate::nft) const TABLE: u16 = 1;
    pub(in crate::nft) const NAME: u16 = 2;
    pub(in crate::nft) const FLAGS: u16 = 3;
    pub(in crate::nft) const KEY_TYPE: u16 = 4;
    pub(in crate::nft) const KEY_LENGTH: u16 = 5;
    pub(in crate::nft) const DATA_TYPE: u16 = 6;
    pub(in crate::nft) const DATA_LENGTH: u16 = 7;
    pub(in crate::nft) const DESCRIPTION: u16 = 9;
    pub(in crate::nft) const ID: u16 = 10;
    pub(in crate::nft) const USERDATA: u16 = 13;
    pub(in crate::nft) const DESCRIPTION_SIZE: u16 = 1;
    pub(in crate::nft) const DESCRIPTION_CONCAT: u16 = 2;
    pub(in crate::nft) const FIELD_LENGTH: u16 = 1;
    pub(in crate::nft) const FLAG_INTERVAL: u32 = 0x4;
    pub(in crate::nft) const FLAG_MAP: u32 = 0x8;
    pub(in crate::nft) const FLAG_TIMEOUT: u32 = 0x10;
    pub(in crate::nft) const FLAG_DYNAMIC: u32 = 0x20;
    pub(in crate::nft) const FLAG_CONCAT: u32 = 0x80;
    /// `NFT_DATA_VERDICT`: the data type of a map to verdicts.
    pub(in crate::nft) const DATA_VERDICT: u32 = 0xffff_ff00;
}

/// `NFTA_SET_ELEM_LIST_*` and `NFTA_SET_ELEM_*`.
pub(super) mod element {
    pub(in crate::nft) const LIST_TABLE: u16 = 1;
    pub(in crate::nft) const LIST_SET: u16 = 2;
    pub(in crate::nft) const LIST_ELEMENTS: u16 = 3;
    pub(in crate::nft) const KEY: u16 = 1;
    pub(in crate::nft) const DATA: u16 = 2;
    pub(in crate::nft) const FLAGS: u16 = 3;
    pub(in crate::nft) const USERDATA: u16 = 6;
    pub(in crate::nft) const KEY_END: u16 = 10;
    pub(in crate::nft) const FLAG_INTERVAL_END: u32 = 1;
}

/// `NFTA_DATA_*`, `NFTA_VERDICT_*` and verdict codes.
pub(super) mod data {
    pub(in crate::nft) const VALUE: u16 = 1;
    pub(in crate::nft) const VERDICT: u16 = 2;
    pub(in crate::nft) const VERDICT_CODE: u16 = 1;
    pub(in crate::nft) const VERDICT_CHAIN: u16 = 2;
    pub(in crate::nft) const DROP: i32 = 0;
    pub(in crate::nft) const ACCEPT: i32 = 1;
    pub(in crate::nft) const JUMP: i32 = -3;
    pub(in crate::nft) const GOTO: i32 = -4;
    pub(in crate::nft) const RETURN: i32 = -5;
}

/// `NFTA_GEN_*`.
pub(super) mod generation {
    pub(in crate::nft) const ID: u16 = 1;
}
