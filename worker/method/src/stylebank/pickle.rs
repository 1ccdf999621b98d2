//! A reader for the small part of Python's pickle format that a tensor in a dictionary uses.
//!
//! It builds values and runs nothing: a call stays a [`Value::Call`] for the reader's user to recognise, so a hostile
//! file can at worst be refused.

use std::rc::Rc;

/// More steps than any tensor file has; keeps hostile files short and shallow.
const STEP_LIMIT: usize = 1_000;

/// A pickled value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Byte strings, and integers of more than 64 bits (little-endian).
    Bytes(Vec<u8>),
    Tuple(Vec<Rc<Value>>),
    List(Vec<Rc<Value>>),
    Dict(Vec<(Rc<Value>, Rc<Value>)>),
    Global {
        module: String,
        name: String,
    },
    Call {
        function: Rc<Value>,
        arguments: Rc<Value>,
    },
    Persistent(Rc<Value>),
}

impl Value {
    /// The value under a text key of a dictionary.
    pub fn entry(&self, key: &str) -> Option<&Value> {
        let Value::Dict(entries) = self else { return None };
        entries
            .iter()
            .find(|(name, _)| **name == Value::Text(key.into()))
            .map(|(_, value)| value.as_ref())
    }

    /// Arguments of a call of `module.name`.
    pub fn call_of(&self, module: &str, name: &str) -> Option<&[Rc<Value>]> {
        let Value::Call { function, arguments } = self else {
            return None;
        };
        match (function.as_ref(), arguments.as_ref()) {
            (Value::Global { module: m, name: n }, Value::Tuple(list)) if m == module && n == name => {
                Some(list)
            }
            _ => None,
        }
    }

    /// A non-negative integer.
    pub fn index(&self) -> Option<usize> {
        match self {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A tuple of non-negative integers.
    pub fn indices(&self) -> Option<Vec<usize>> {
        match self {
            Value::Tuple(items) => items.iter().map(|item| item.index()).collect(),
            _ => None,
        }
    }
}

/// Reads one pickle from the front of `bytes` and moves `bytes` past it.
///
/// # Errors
/// What is wrong with the file, as text without its name.
pub(super) fn read_pickle(bytes: &mut &[u8]) -> Result<Value, String> {
    let mut machine = Machine {
        bytes,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    for _ in 0..STEP_LIMIT {
        if let Some(value) = machine.step()? {
            return Ok(Rc::unwrap_or_clone(value));
        }
    }
    Err(format!("the pickle has more than {STEP_LIMIT} steps"))
}

struct Machine<'a, 'b> {
    bytes: &'a mut &'b [u8],
    stack: Vec<Rc<Value>>,
    marks: Vec<usize>,
    memo: Vec<Rc<Value>>,
}

impl Machine<'_, '_> {
    /// One operation; the value when it was the last.
    fn step(&mut self) -> Result<Option<Rc<Value>>, String> {
        let code = self.byte()?;
        match code {
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => self.push_int(1)?,
            b'M' => self.push_int(2)?,
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()));
            }
            0x8a => self.push_long()?,
            0x8c => self.push_text(1)?,
            b'X' => self.push_text(4)?,
            b'C' => self.push_bytes(1)?,
            b'B' => self.push_bytes(4)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global { module, name });
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.push(Value::Global { module, name });
            }
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let from = self
                    .stack
                    .len()
                    .checked_sub(usize::from(code - 0x84))
                    .ok_or("the stack is empty")?;
                let items = self.stack.split_off(from);
                self.push(Value::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items));
            }
            b']' => self.push(Value::List(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend_list(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(vec![key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_dict(items)?;
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.push(Value::Call { function, arguments });
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            0x94 => {
                let top = self.stack.last().ok_or("the stack is empty")?;
                self.memo.push(Rc::clone(top));
            }
            b'q' => {
                let at = self.byte()?.into();
                self.memoise(at)?;
            }
            b'h' => {
                let at = usize::from(self.byte()?);
                let known = self.memo.get(at).ok_or("a back reference leads nowhere")?;
                self.stack.push(Rc::clone(known));
            }
            other => {
                return Err(format!(
                    "pickle operation 0x{other:02x} is none that a tensor needs"
                ));
            }
        }
        Ok(None)
    }

    fn push(&mut self, value: Value) {
        self.stack.push(Rc::new(value));
    }

    fn pop(&mut self) -> Result<Rc<Value>, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn pop_text(&mut self) -> Result<String, String> {
        match self.pop()?.as_ref() {
            Value::Text(text) => Ok(text.clone()),
            _ => Err("a name is missing".into()),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Rc<Value>>, String> {
        let mark = self
            .marks
            .pop()
            .filter(|mark| *mark <= self.stack.len())
            .ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn extend_list(&mut self, items: Vec<Rc<Value>>) -> Result<(), String> {
        match self.stack.last_mut().map(Rc::make_mut) {
            Some(Value::List(list)) => list.extend(items),
            _ => return Err("items without a list".into()),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: Vec<Rc<Value>>) -> Result<(), String> {
        let pairs = items
            .chunks_exact(2)
            .map(|pair| (Rc::clone(&pair[0]), Rc::clone(&pair[1])));
        match self.stack.last_mut().map(Rc::make_mut) {
            Some(Value::Dict(entries)) => entries.extend(pairs),
            _ => return Err("entries without a dictionary".into()),
        }
        Ok(())
    }

    fn memoise(&mut self, at: usize) -> Result<(), String> {
        let top = Rc::clone(self.stack.last().ok_or("the stack is empty")?);
        if at < self.memo.len() {
            self.memo[at] = top;
        } else if at == self.memo.len() {
            self.memo.push(top);
        } else {
            return Err("back references are out of order".into());
        }
        Ok(())
    }

    fn push_int(&mut self, width: usize) -> Result<(), String> {
        let number = self.length(width)?;
        self.push(Value::Int(number as i64));
        Ok(())
    }

    fn push_long(&mut self) -> Result<(), String> {
        let width = usize::from(self.byte()?);
        let digits = self.take(width)?.to_vec();
        if width > 8 {
            self.push(Value::Bytes(digits));
            return Ok(());
        }
        let negative = digits.last().is_some_and(|high| high & 0x80 != 0);
        let mut full = [if negative { 0xff } else { 0 }; 8];
        full[..width].copy_from_slice(&digits);
        self.push(Value::Int(i64::from_le_bytes(full)));
        Ok(())
    }

    fn push_text(&mut self, width: usize) -> Result<(), String> {
        let length = self.length(width)?;
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| "a name is not UTF-8")?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn push_bytes(&mut self, width: usize) -> Result<(), String> {
        let length = self.length(width)?;
        let bytes = self.take(length)?.to_vec();
        self.push(Value::Bytes(bytes));
        Ok(())
    }

    fn length(&mut self, width: usize) -> Result<usize, String> {
        Ok(self
            .take(width)?
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn line(&mut self) -> Result<String, String> {
        let length = self
            .bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or("a line does not end")?;
        let line = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| "a name is not UTF-8")?;
        self.take(1)?;
        Ok(line)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "the file ends early".into())
    }

    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        take(self.bytes, count)
    }
}

/// The next `count` bytes.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or("the file ends early")?;
    *bytes = rest;
    Ok(taken)
}
