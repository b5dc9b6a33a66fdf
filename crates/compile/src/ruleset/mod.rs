//! The nf_tables intermediate representation: what we want the kernel to hold, as plain values.
//!
//! A [`Ruleset`] is one table of family `inet`. Statements say *what* is matched and done; which kernel
//! register holds which value is the encoder's decision. Nothing here refers to a kernel handle: chains are
//! replaced whole (flush and append in one transaction) and elements are named by their keys.
//!
//! The [`Display`](std::fmt::Display) form of every part is nft's own notation as far as nft has one.

mod display;
mod note;
mod rule;
mod value;
mod values;

pub use note::Note;
pub(crate) use note::several;
pub use rule::{
    Comparison, ConntrackField, HeaderField, Load, MetaField, NatKind, RejectWith, Rule, SetUpdate, Statement, Verdict,
    conntrack_state, conntrack_status,
};
pub use value::{Content, Data, DataType, Direction, Element, ElementKey, FieldType, InterfaceName, Value};
pub use values::Values;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Name, SharedMap};

/// The name of the one table Fairway owns. Its family is `inet`.
pub const TABLE: &str = "fairway";

/// The whole wanted content of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Sets and maps by name.
    pub sets: BTreeMap<Name, Set>,
    /// Chains by name.
    pub chains: BTreeMap<Name, Chain>,
}

impl Ruleset {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.is_empty()
    }
}

/// A chain: a list of rules, run at a hook (base chain) or when jumped to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel calls it; none for a chain that is only jumped to.
    pub hook: Option<BaseHook>,
    /// Its rules in order; clones share them.
    pub rules: Arc<[Rule]>,
}

/// Where and when the kernel calls a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseHook {
    /// What the chain may do.
    pub kind: ChainKind,
    /// The place in the packet's way.
    pub hook: Hook,
    /// Order among the chains of the hook, lowest first. -100 is where destination NAT belongs, 0 filtering,
    /// 100 source NAT.
    pub priority: i32,
    /// Whether a packet that reaches the end of the chain goes on.
    pub policy: Policy,
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Sees every packet.
    Filter,
    /// Sees the first packet of each connection and may translate it.
    Nat,
    /// Sees every packet and re-routes it when it was changed; only at [`Hook::Output`].
    Route,
}

/// A netfilter hook of the `inet` family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Every packet that comes in, before routing.
    Prerouting,
    /// Packets for this host.
    Input,
    /// Packets that pass through.
    Forward,
    /// Packets made by this host.
    Output,
    /// Every packet that leaves, after routing.
    Postrouting,
}

/// The fate of a packet that reaches the end of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

/// A set, or a map when it has data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What it holds and how.
    pub spec: SetSpec,
    /// Its elements; always empty for a [dynamic](SetSpec::dynamic) one, whose elements packets make.
    pub elements: SharedMap<ElementKey, Content>,
    /// Whose business its elements are.
    pub keeper: Keeper,
}

/// Who keeps the elements of a set up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeper {
    /// Whoever applies the ruleset: the kernel is to hold the elements the ruleset has.
    #[default]
    Ruleset,
    /// Another program: the ruleset's elements are put in when the set is made, and left alone afterwards.
    Others,
}

impl Set {
    /// An empty set of this shape, kept by whoever applies the ruleset.
    pub const fn new(spec: SetSpec) -> Self {
        Self { spec, elements: SharedMap::new(), keeper: Keeper::Ruleset }
    }
}

/// The shape of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSpec {
    /// The fields of a key; more than one is a concatenation.
    pub key: Vec<FieldType>,
    /// What a key leads to; none for a plain set.
    pub data: Option<DataType>,
    /// Whether keys are ranges.
    pub interval: bool,
    /// Whether elements are made by packets ([`Statement::Update`]) and expire, and how many there may be.
    /// Such a set belongs to the packets: comparing rulesets ignores its elements.
    pub dynamic: Option<Dynamic>,
}

/// How packets may fill a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dynamic {
    /// The most elements it may hold; the statement that would add one more fails and its rule ends.
    pub size: u32,
}

/// One change of the table. A list of them is one transaction, applied in order, all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make the table; fine when it exists.
    AddTable,
    /// Remove the table with all it holds; it must exist.
    DeleteTable,
    /// Make an empty set or map that does not exist.
    AddSet(Name, SetSpec),
    /// Remove a set or map with its elements; nothing may refer to it.
    DeleteSet(Name),
    /// Make an empty chain that does not exist.
    AddChain(Name, Option<BaseHook>),
    /// Remove all rules of a chain.
    FlushChain(Name),
    /// Remove an empty chain; nothing may refer to it.
    DeleteChain(Name),
    /// Append a rule to a chain.
    AddRule(Name, Rule),
    /// Add elements to a set that holds none. They are those of a ruleset, which need not be copied: a start has hundreds of
    /// thousands.
    FillSet(Name, SharedMap<ElementKey, Content>),
    /// Add elements whose keys the set does not hold.
    AddElements(Name, Vec<Element>),
    /// Remove elements the set holds. They carry their data, as the kernel wants it for maps.
    DeleteElements(Name, Vec<Element>),
}
