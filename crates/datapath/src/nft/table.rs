//! The connection to our table: transactions and listings.

use std::collections::BTreeMap;

use compile::ruleset::{Content, ElementKey, Operation, Ruleset, Set, SetSpec, TABLE};
use model::{Name, SharedMap};
use nix::errno::Errno;

use super::batch::Encoded;
use super::constant::{FAMILY_INET, chain, element, generation, message, rule, set, table};
use super::error::NftError;
use super::expected::Expected;
use super::listing::{Assembled, Listing, Piece, assemble, parse_chain, parse_piece, parse_rule, parse_set};
use crate::Netns;
use crate::netlink::{Attributes, Family, Message, NetlinkError, Socket, flag, parse_attributes, parse_u32_be};

/// A listing during which somebody changed nf_tables is begun anew this often.
const LISTING_ATTEMPTS: u32 = 10;
/// `struct nfgenmsg`.
const HEADER_LEN: usize = 4;

/// Our table in one network namespace, the one it was opened in, whatever thread uses it.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
}

/// The elements of a set: keys with their data, which only maps have.
pub type Elements = SharedMap<ElementKey, Content>;

/// What became of operations that were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Transactions it took: none when there was nothing to do, one as a rule, more only when the socket's send
    /// buffer is too small and may not be enlarged (an ordinary user with many thousand elements).
    pub transactions: usize,
    /// Bytes sent.
    pub bytes: usize,
}

/// What is done when somebody changes nf_tables, whatever part of it, while elements are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changes {
    /// The listing is begun anew.
    ReadAnew,
    /// Nothing: the caller can do with what came, or has another way to tell whether all did.
    Ignore,
}

impl Table {
    /// Connects to the calling thread's namespace. Changes nothing.
    pub fn open() -> Result<Self, NftError> {
        let socket = Socket::open(Family::Netfilter).map_err(|source| NftError::Connect { source })?;
        Ok(Self { socket })
    }

    /// Connects to `netns`. Changes nothing.
    pub fn open_in(netns: &Netns) -> Result<Self, NftError> {
        netns.run(Self::open)?
    }

    /// Applies operations in order, all or nothing as long as they fit one transaction (see [`Applied`]).
    ///
    /// After [`NftError::Refused`] in the first transaction nothing has changed; after [`NftError::Unanswered`], or in
    /// a later transaction, a listing tells what is in force.
    pub fn apply(&mut self, operations: &[Operation]) -> Result<Applied, NftError> {
        let first_sequence = self.socket.reserve_sequences(operations.len());
        let encoded = Encoded::new(operations, first_sequence)?;
        let length_max = self.socket.reserve_send(encoded.len()).map_err(|source| NftError::Send { source })?;
        let mut applied = Applied::default();
        for transaction in encoded.transactions(length_max) {
            self.transact(&transaction, operations, first_sequence)?;
            applied.transactions += 1;
            applied.bytes += transaction.len();
        }
        Ok(applied)
    }

    fn transact(&mut self, batch: &[u8], operations: &[Operation], first_sequence: u32) -> Result<(), NftError> {
        let answers = self.socket.exchange(batch).map_err(|source| match source {
            NetlinkError::Send { .. } => NftError::Send { source },
            _ => NftError::Unanswered { source: Some(source) },
        })?;
        let mut is_acknowledged = false;
        for (sequence, refusal) in answers {
            match refusal {
                None => is_acknowledged = true,
                Some(refusal) => {
                    let index = sequence.wrapping_sub(first_sequence) as usize;
                    let operation = operations.get(index).map_or_else(|| "begin a transaction".to_owned(), describe);
                    return Err(NftError::Refused { operation, refusal });
                }
            }
        }
        if is_acknowledged { Ok(()) } else { Err(NftError::Unanswered { source: None }) }
    }

    /// Lists the table; `None` when there is none. Takes time in proportion to what it holds.
    pub fn read(&mut self) -> Result<Option<Listing>, NftError> {
        self.read_beside(&Ruleset::default())
    }

    /// Lists the table as [`Table::read`] does; sets that are as in `known` share their elements with it.
    ///
    /// A listing counts when nobody changed nf_tables meanwhile, or when the next finds the same: on a node where others
    /// change tables of their own all the time there is no still moment to wait for.
    pub fn read_beside(&mut self, known: &Ruleset) -> Result<Option<Listing>, NftError> {
        let mut last = None;
        for _ in 0..LISTING_ATTEMPTS {
            let before = self.generation()?;
            let listing = match self.list(known) {
                // A set went away between its listing and that of its elements.
                Err(error) if error.errno() == Some(Errno::ENOENT) => continue,
                listing => listing?,
            };
            if self.generation()? == before || last.as_ref() == Some(&listing) {
                return Ok(listing);
            }
            last = Some(listing);
        }
        Err(NftError::Unstable { attempts: LISTING_ATTEMPTS })
    }

    /// Lists the elements of one set; `None` when there is no such set.
    ///
    /// `spec` is the shape it is known to have; [`NftError::Shape`] when its elements have another.
    pub fn read_set(&mut self, name: &Name, spec: &SetSpec) -> Result<Option<Elements>, NftError> {
        match self.list_elements(name, spec, None, Changes::ReadAnew) {
            Ok(Some(elements)) => Ok(Some(elements)),
            Ok(None) => Err(NftError::Shape { set: name.as_str().to_owned() }),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists what packets put into a dynamic set; empty when there is no such set.
    ///
    /// What comes or goes meanwhile may be missing, and so may others while the kernel makes the set larger.
    pub fn read_memory(&mut self, name: &Name, spec: &SetSpec) -> Result<Elements, NftError> {
        match self.list_pieces(name, spec, &mut Expected::of(spec, None), Changes::Ignore) {
            Ok(pieces) => Ok(pieces.into_iter().flat_map(Piece::into_elements).collect()),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(Elements::new()),
            Err(error) => Err(error),
        }
    }

    /// The number the kernel counts up with every transaction of anybody in the namespace.
    pub fn generation(&mut self) -> Result<u32, NftError> {
        let parse = |message: &Message<'_>| {
            let id = parse_attributes(attributes_of(message)).find(|(kind, _)| *kind == generation::ID);
            Ok(id.and_then(|(_, value)| parse_u32_be(value)))
        };
        let found = self.socket.query(message::GET_GENERATION, 0, &[0; HEADER_LEN], parse);
        match found {
            Ok(found) => found.first().copied().ok_or(NftError::Unsupported),
            Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::EOPNOTSUPP)) => {
                Err(NftError::Unsupported)
            }
            Err(source) => Err(NftError::List { what: "generation", source }),
        }
    }

    fn list(&mut self, known: &Ruleset) -> Result<Option<Listing>, NftError> {
        let Some(flags) = self.flags()? else { return Ok(None) };
        let mut listing = Listing::default();
        if flags != 0 {
            // We set none; with NFT_TABLE_F_DORMANT no packet meets the table.
            listing.foreign.push("the flags of the table".to_owned());
        }
        self.list_chains(&mut listing)?;
        self.list_rules(&mut listing)?;
        for (name, spec) in self.list_sets(&mut listing)? {
            // Elements of a dynamic set belong to the packets that made them.
            let is_ours = spec.dynamic.is_none();
            let known = known.sets.get(&name).map(|set| (&set.spec, &set.elements));
            let elements = match is_ours {
                true => self.list_elements(&name, &spec, known, Changes::Ignore)?,
                false => Some(Elements::new()),
            };
            match elements {
                Some(elements) => {
                    let known = known.map(|(_, known)| known).filter(|known| **known == elements);
                    let elements = known.cloned().unwrap_or(elements);
                    listing.observed.sets.insert(name, Set { elements, ..Set::new(spec) });
                }
                None => listing.foreign.push(format!("an element of {name}")),
            }
        }
        Ok(Some(listing))
    }

    /// Whether there is a table.
    pub fn exists(&mut self) -> Result<bool, NftError> {
        Ok(self.flags()?.is_some())
    }

    /// The flags of the table; `None` when there is none.
    fn flags(&mut self) -> Result<Option<u32>, NftError> {
        let request = request(table::NAME, TABLE);
        let parse = |message: &Message<'_>| {
            let flags = parse_attributes(attributes_of(message)).find(|(kind, _)| *kind == table::FLAGS);
            Ok(Some(flags.and_then(|(_, value)| parse_u32_be(value)).unwrap_or(0)))
        };
        match self.socket.query(message::GET_TABLE, 0, request.as_bytes(), parse) {
            Ok(found) => Ok(found.first().copied()),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(source) => Err(NftError::List { what: "existence", source }),
        }
    }

    fn list_chains(&mut self, listing: &mut Listing) -> Result<(), NftError> {
        let request = request(chain::TABLE, TABLE);
        let found = self.socket.query_as_it_comes(message::GET_CHAIN, request.as_bytes(), |message| {
            Ok(parse_chain(attributes_of(message), TABLE))
        });
        for (name, chain) in found.map_err(|source| NftError::List { what: "chains", source })? {
            match chain {
                Some(chain) => {
                    listing.observed.chains.insert(name, chain);
                }
                None => listing.foreign.push(format!("the hook of chain {name}")),
            }
        }
        Ok(())
    }

    fn list_rules(&mut self, listing: &mut Listing) -> Result<(), NftError> {
        let request = request(rule::TABLE, TABLE);
        let found = self.socket.query_as_it_comes(message::GET_RULE, request.as_bytes(), |message| {
            Ok(parse_rule(attributes_of(message), TABLE))
        });
        for (chain, fingerprint) in found.map_err(|source| NftError::List { what: "rules", source })? {
            if let Some(chain) = listing.observed.chains.get_mut(&chain) {
                chain.rules.push(fingerprint);
            }
        }
        Ok(())
    }

    fn list_sets(&mut self, listing: &mut Listing) -> Result<BTreeMap<Name, SetSpec>, NftError> {
        let request = request(set::TABLE, TABLE);
        let found = self.socket.query_as_it_comes(message::GET_SET, request.as_bytes(), |message| {
            Ok(parse_set(attributes_of(message), TABLE))
        });
        let mut specs = BTreeMap::new();
        for (name, spec) in found.map_err(|source| NftError::List { what: "sets", source })? {
            match spec {
                Some(spec) => {
                    specs.insert(name, spec);
                }
                None => listing.foreign.push(format!("the type of set {name}")),
            }
        }
        Ok(specs)
    }

    /// The kernel lists a large set in pieces, finding its place by counting. While it rebuilds the set's hash table,
    /// which it does on its own some time after elements came, pieces overlap: elements come twice, others not at all.
    ///
    /// `None` when an element does not fit the set's shape.
    fn list_elements(
        &mut self,
        name: &Name,
        spec: &SetSpec,
        known: Option<(&SetSpec, &Elements)>,
        changes: Changes,
    ) -> Result<Option<Elements>, NftError> {
        for _ in 0..LISTING_ATTEMPTS {
            let mut expected = Expected::of(spec, known);
            let others = self.list_pieces(name, spec, &mut expected, changes)?;
            match assemble(spec, others, expected.found()) {
                Assembled::Whole(elements) => return Ok(Some(elements)),
                Assembled::Foreign => return Ok(None),
                Assembled::Overlapping => {}
            }
        }
        Err(NftError::Unstable { attempts: LISTING_ATTEMPTS })
    }

    /// What is listed beside what is expected.
    fn list_pieces(
        &mut self,
        name: &Name,
        spec: &SetSpec,
        expected: &mut Expected,
        changes: Changes,
    ) -> Result<Vec<Piece>, NftError> {
        let mut request = request(element::LIST_TABLE, TABLE);
        request.text(element::LIST_SET, name.as_str());
        let parse = |message: &Message<'_>| Ok(Some(parse_piece(spec, attributes_of(message), expected)));
        let found = match changes {
            Changes::ReadAnew => self.socket.query(message::GET_ELEMENTS, flag::DUMP, request.as_bytes(), parse),
            Changes::Ignore => self.socket.query_as_it_comes(message::GET_ELEMENTS, request.as_bytes(), parse),
        };
        found.map_err(|source| NftError::List { what: "elements", source })
    }
}

/// `struct nfgenmsg` and the attribute that names our table.
fn request(kind: u16, table: &str) -> Attributes {
    let mut request = Attributes::append_to(vec![FAMILY_INET, 0, 0, 0]);
    request.text(kind, table);
    request
}

fn attributes_of<'a>(message: &Message<'a>) -> &'a [u8] {
    message.payload.get(HEADER_LEN..).unwrap_or_default()
}

/// An operation in words, for an error about it.
fn describe(operation: &Operation) -> String {
    match operation {
        Operation::AddTable => format!("add the table {TABLE}"),
        Operation::DeleteTable => format!("delete the table {TABLE}"),
        Operation::AddSet(name, _) => format!("add the set {name}"),
        Operation::DeleteSet(name) => format!("delete the set {name}"),
        Operation::AddChain(name, _) => format!("add the chain {name}"),
        Operation::FlushChain(name) => format!("flush the chain {name}"),
        Operation::DeleteChain(name) => format!("delete the chain {name}"),
        Operation::AddRule(chain, rule) => format!("add to chain {chain} the rule \"{rule}\""),
        Operation::FillSet(set, elements) => format!("add {} elements to {set}", elements.len()),
        Operation::AddElements(set, elements) => format!("add {} elements to {set}", elements.len()),
        Operation::DeleteElements(set, elements) => format!("delete {} elements of {set}", elements.len()),
    }
}
