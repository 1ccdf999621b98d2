//! The stack machine that a pickle is a program for.

use std::cmp::Ordering;

use super::{NodeId, Pickle, PickleError, PickleNode};

type Outcome<T> = Result<T, PickleError>;

/// Runs the program at the front of `bytes` for at most `limit` operations and moves `bytes` past it.
pub(super) fn run<'a>(bytes: &mut &'a [u8], limit: usize) -> Outcome<Pickle<'a>> {
    let mut machine = Machine {
        bytes,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    for _ in 0..limit {
        if let Some(root) = machine.step()? {
            return Ok(Pickle {
                nodes: machine.nodes,
                root,
            });
        }
    }
    Err(PickleError::TooLong)
}

struct Machine<'a, 'b> {
    bytes: &'b mut &'a [u8],
    nodes: Vec<PickleNode<'a>>,
    stack: Vec<NodeId>,
    /// Heights of the stack where marks stand.
    marks: Vec<usize>,
    memo: Vec<NodeId>,
}

impl<'a> Machine<'a, '_> {
    /// One operation; the value when it was the last.
    fn step(&mut self) -> Outcome<Option<NodeId>> {
        let code = self.byte()?;
        match code {
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'N' | 0x8f => self.push(PickleNode::Opaque),
            b']' => self.push(PickleNode::List(Vec::new())),
            b'G' => {
                let digits = self.take(8)?.first_chunk().ok_or(PickleError::EndsEarly)?;
                self.push(PickleNode::Float(f64::from_be_bytes(*digits)));
            }
            0x88 => self.push(PickleNode::Bool(true)),
            0x89 => self.push(PickleNode::Bool(false)),
            b'K' | b'M' | b'J' | 0x8a => self.number(code)?,
            0x8c | b'X' => {
                let text = self.counted(if code == b'X' { 4 } else { 1 })?;
                self.push(PickleNode::Text(utf8(text)?));
            }
            b'C' | b'B' => {
                let bytes = self.counted(if code == b'B' { 4 } else { 1 })?;
                self.push(PickleNode::Bytes(bytes));
            }
            b'c' | 0x93 => self.global(code)?,
            b')' | 0x85..=0x87 | b't' => self.tuple(code)?,
            b'a' | b'e' | 0x90 | 0x91 => self.gather(code)?,
            b'}' => self.push(PickleNode::Dict(Vec::new())),
            b's' | b'u' => self.set_items(code)?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                self.push(PickleNode::Persistent(id));
            }
            0x94 => self.memoise(self.memo.len())?,
            b'q' | b'r' => {
                let at = self.length(if code == b'r' { 4 } else { 1 })?;
                self.memoise(at)?;
            }
            b'h' | b'j' => {
                let at = self.length(if code == b'j' { 4 } else { 1 })?;
                let known = *self.memo.get(at).ok_or(PickleError::NoBackReference)?;
                self.stack.push(known);
            }
            other => return Err(PickleError::UnknownOperation(other)),
        }
        Ok(None)
    }

    fn push(&mut self, node: PickleNode<'a>) {
        // An operation makes at most one node, and their number is limited.
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        self.stack.push(id);
    }

    /// The topmost value above the last mark; no operation but the mark's own reaches below it.
    fn pop(&mut self) -> Outcome<NodeId> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(PickleError::EmptyStack);
        }
        self.stack.pop().ok_or(PickleError::EmptyStack)
    }

    fn top(&self) -> Outcome<NodeId> {
        self.stack.last().copied().ok_or(PickleError::EmptyStack)
    }

    fn pop_text(&mut self) -> Outcome<&'a str> {
        let id = self.pop()?;
        match self.node(id) {
            PickleNode::Text(text) => Ok(text),
            _ => Err(PickleError::NoName),
        }
    }

    fn since_mark(&mut self) -> Outcome<Vec<NodeId>> {
        let mark = self.marks.pop().ok_or(PickleError::NoMark)?;
        Ok(self.stack.split_off(mark))
    }

    fn node(&self, id: NodeId) -> &PickleNode<'a> {
        &self.nodes[id.0 as usize]
    }

    fn global(&mut self, code: u8) -> Outcome<()> {
        let (module, name) = if code == b'c' {
            (self.line()?, self.line()?)
        } else {
            let name = self.pop_text()?;
            (self.pop_text()?, name)
        };
        self.push(PickleNode::Global { module, name });
        Ok(())
    }

    fn tuple(&mut self, code: u8) -> Outcome<()> {
        let items = match code {
            b')' => Vec::new(),
            b't' => self.since_mark()?,
            _ => {
                let count = usize::from(code - 0x84);
                let mut items = (0..count).map(|_| self.pop()).collect::<Outcome<Vec<_>>>()?;
                items.reverse();
                items
            }
        };
        self.push(PickleNode::Tuple(items));
        Ok(())
    }

    /// Items of lists. Those of sets, and of lists that only a call would have made, are dropped.
    fn gather(&mut self, code: u8) -> Outcome<()> {
        let items = match code {
            b'a' => vec![self.pop()?],
            _ => self.since_mark()?,
        };
        if code == 0x91 {
            self.push(PickleNode::Opaque);
            return Ok(());
        }
        let target = self.top()?;
        if let PickleNode::List(list) = &mut self.nodes[target.0 as usize] {
            list.extend(items);
        }
        Ok(())
    }

    /// Entries of a dictionary. Those of an object that only a call would have made are dropped.
    fn set_items(&mut self, code: u8) -> Outcome<()> {
        let items = if code == b'u' {
            self.since_mark()?
        } else {
            let value = self.pop()?;
            vec![self.pop()?, value]
        };
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            PickleNode::Dict(entries) => entries.extend(pairs),
            PickleNode::Call { .. } => {}
            _ => return Err(PickleError::NoDictionary),
        }
        Ok(())
    }

    /// An empty ordered dictionary is a dictionary; any other call stays one.
    fn call(&mut self) -> Outcome<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let ordered = matches!(
            self.node(function),
            PickleNode::Global {
                module: "collections",
                name: "OrderedDict"
            }
        );
        let empty = matches!(self.node(arguments), PickleNode::Tuple(items) if items.is_empty());
        self.push(if ordered && empty {
            PickleNode::Dict(Vec::new())
        } else {
            PickleNode::Call {
                function,
                arguments,
                state: None,
            }
        });
        Ok(())
    }

    fn build(&mut self) -> Outcome<()> {
        let given = self.pop()?;
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            PickleNode::Call { state: Some(_), .. } => return Err(PickleError::BuiltTwice),
            PickleNode::Call { state, .. } => *state = Some(given),
            // State dictionaries carry version numbers this way.
            _ => {}
        }
        Ok(())
    }

    fn memoise(&mut self, at: usize) -> Outcome<()> {
        let top = self.top()?;
        match at.cmp(&self.memo.len()) {
            Ordering::Less => self.memo[at] = top,
            Ordering::Equal => self.memo.push(top),
            // Every writer numbers them in order.
            Ordering::Greater => return Err(PickleError::NoBackReference),
        }
        Ok(())
    }

    fn number(&mut self, code: u8) -> Outcome<()> {
        let digits = match code {
            b'K' => self.take(1)?,
            b'M' => self.take(2)?,
            b'J' => self.take(4)?,
            _ => self.counted(1)?,
        };
        if digits.len() > 8 {
            self.push(PickleNode::Bytes(digits));
            return Ok(());
        }
        let signed = !matches!(code, b'K' | b'M');
        let negative = signed && digits.last().is_some_and(|high| high & 0x80 != 0);
        let mut full = [if negative { 0xff } else { 0 }; 8];
        full[..digits.len()].copy_from_slice(digits);
        self.push(PickleNode::Int(i64::from_le_bytes(full)));
        Ok(())
    }

    fn counted(&mut self, width: usize) -> Outcome<&'a [u8]> {
        let length = self.length(width)?;
        self.take(length)
    }

    fn length(&mut self, width: usize) -> Outcome<usize> {
        let digits = self.take(width)?.iter().rev();
        Ok(digits.fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn line(&mut self) -> Outcome<&'a str> {
        let length = self.bytes.iter().position(|byte| *byte == b'\n');
        let line = self.take(length.ok_or(PickleError::EndsEarly)?)?;
        self.take(1)?;
        utf8(line)
    }

    fn byte(&mut self) -> Outcome<u8> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(PickleError::EndsEarly)?;
        *self.bytes = rest;
        Ok(taken)
    }
}

fn utf8(bytes: &[u8]) -> Outcome<&str> {
    std::str::from_utf8(bytes).map_err(|_| PickleError::NotUtf8)
}
