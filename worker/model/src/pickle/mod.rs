//! Python's pickle format: a reader, and in [`write`] a writer.
//!
//! The reader builds values and runs nothing: a call stays a [`call`](PickleValue::call_of) for the caller to
//! recognise, so a hostile file can at worst be refused.
//!
//! It knows the operations that `torch.save`, TorchScript archives and pickled tensors use. What is read is kept in one
//! list of nodes that refer to each other by number: nesting costs no call stack, neither here nor when values are
//! dropped, and a value that contains itself is harmless. Texts and byte strings are borrowed from the input, so that
//! the memory taken is bounded by the number of operations. No IO.

mod machine;
pub mod write;

/// More operations than the pickle of any checkpoint has: each tensor takes about forty.
const STEP_LIMIT: usize = 1_000_000;

/// Why a pickle cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    #[error("it ends early")]
    EndsEarly,
    #[error("its stack is empty where a value is expected")]
    EmptyStack,
    #[error("a mark is missing")]
    NoMark,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a name is missing")]
    NoName,
    #[error("a back reference leads nowhere")]
    NoBackReference,
    #[error("entries are set in something other than a dictionary")]
    NoDictionary,
    #[error("a value is built twice")]
    BuiltTwice,
    #[error("operation 0x{0:02x} is none that tensors need")]
    UnknownOperation(u8),
    #[error("it has more than {STEP_LIMIT} operations")]
    TooLong,
}

/// Number of a node in its pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NodeId(u32);

#[derive(Debug)]
enum PickleNode<'a> {
    /// What no reader of tensors looks at: None and sets.
    Opaque,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Byte strings, and integers of more than 64 bits (little-endian).
    Bytes(&'a [u8]),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    Dict(Vec<(NodeId, NodeId)>),
    Global {
        module: &'a str,
        name: &'a str,
    },
    /// What a function or class would have made of the arguments; `state` is what `__setstate__` would have been given.
    Call {
        function: NodeId,
        arguments: NodeId,
        state: Option<NodeId>,
    },
    Persistent(NodeId),
}

/// One pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    nodes: Vec<PickleNode<'a>>,
    root: NodeId,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle from the front of `bytes` and moves `bytes` past it.
    ///
    /// # Errors
    /// The pickle is cut short, malformed, too long, or uses an operation that no tensor needs.
    pub fn read(bytes: &mut &'a [u8]) -> Result<Self, PickleError> {
        machine::run(bytes, STEP_LIMIT)
    }

    /// The pickled value.
    pub fn root(&self) -> PickleValue<'_> {
        self.value(self.root)
    }

    fn value(&self, node: NodeId) -> PickleValue<'_> {
        PickleValue { pickle: self, node }
    }
}

/// A value in a pickle.
#[derive(Debug, Clone, Copy)]
pub struct PickleValue<'p> {
    pickle: &'p Pickle<'p>,
    node: NodeId,
}

impl<'p> PickleValue<'p> {
    fn node(self) -> &'p PickleNode<'p> {
        // Ids are made by the machine, which never removes a node.
        &self.pickle.nodes[self.node.0 as usize]
    }

    /// Entries of a dictionary with text keys, in order.
    pub fn entries(self) -> Option<impl Iterator<Item = (&'p str, PickleValue<'p>)>> {
        let PickleNode::Dict(entries) = self.node() else {
            return None;
        };
        Some(entries.iter().filter_map(move |(key, value)| {
            let key = self.pickle.value(*key).text()?;
            Some((key, self.pickle.value(*value)))
        }))
    }

    /// Entries of a dictionary with integer keys, in order.
    pub fn numbered_entries(self) -> Option<impl Iterator<Item = (i64, PickleValue<'p>)>> {
        let PickleNode::Dict(entries) = self.node() else {
            return None;
        };
        Some(entries.iter().filter_map(move |(key, value)| {
            let key = self.pickle.value(*key).int()?;
            Some((key, self.pickle.value(*value)))
        }))
    }

    /// The value under a text key of a dictionary; the last one, as in Python, if the key is there twice.
    pub fn entry(self, key: &str) -> Option<PickleValue<'p>> {
        self.entries()?
            .filter(|(name, _)| *name == key)
            .last()
            .map(|(_, value)| value)
    }

    /// Arguments of a call of `module.name`.
    pub fn call_of(self, module: &str, name: &str) -> Option<Vec<PickleValue<'p>>> {
        let PickleNode::Call {
            function, arguments, ..
        } = self.node()
        else {
            return None;
        };
        (self.pickle.value(*function).global()? == (module, name)).then_some(())?;
        self.pickle.value(*arguments).items()
    }

    /// Module and name of the function or class that would have made this value.
    pub fn maker(self) -> Option<(&'p str, &'p str)> {
        match self.node() {
            PickleNode::Call { function, .. } => self.pickle.value(*function).global(),
            _ => None,
        }
    }

    /// What `__setstate__` of this object would have been given.
    pub fn state(self) -> Option<PickleValue<'p>> {
        match self.node() {
            PickleNode::Call { state, .. } => state.map(|state| self.pickle.value(state)),
            _ => None,
        }
    }

    /// Module and name of a function or class.
    pub fn global(self) -> Option<(&'p str, &'p str)> {
        match self.node() {
            PickleNode::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// The id of a value that is kept outside of the pickle.
    pub fn persistent_id(self) -> Option<PickleValue<'p>> {
        match self.node() {
            PickleNode::Persistent(id) => Some(self.pickle.value(*id)),
            _ => None,
        }
    }

    /// Items of a tuple or a list.
    pub fn items(self) -> Option<Vec<PickleValue<'p>>> {
        match self.node() {
            PickleNode::Tuple(items) | PickleNode::List(items) => {
                Some(items.iter().map(|item| self.pickle.value(*item)).collect())
            }
            _ => None,
        }
    }

    /// A text.
    pub fn text(self) -> Option<&'p str> {
        match self.node() {
            PickleNode::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A byte string.
    pub fn bytes(self) -> Option<&'p [u8]> {
        match self.node() {
            PickleNode::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A truth value.
    pub fn bool(self) -> Option<bool> {
        match self.node() {
            PickleNode::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An integer of at most 64 bits.
    pub fn int(self) -> Option<i64> {
        match self.node() {
            PickleNode::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A number, whole or not.
    pub fn number(self) -> Option<f64> {
        match self.node() {
            PickleNode::Int(number) => Some(*number as f64),
            PickleNode::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// A tuple or a list of integers.
    pub fn ints(self) -> Option<Vec<i64>> {
        match self.node() {
            PickleNode::Tuple(items) | PickleNode::List(items) => {
                items.iter().map(|item| self.pickle.value(*item).int()).collect()
            }
            _ => None,
        }
    }
}
