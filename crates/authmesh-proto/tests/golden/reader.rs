//! A second reader of the formats, from their description alone.

/// Reads from the front; panics where the bytes are not what the format says.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at_checked(length).expect("the bytes end early");
        self.0 = tail;
        head
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    /// A number as the fixed layouts have it: eight bytes, the greatest first.
    pub fn big(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// A number as bincode has it: below 251 one byte; else 251, 252 or 253 and then two, four or eight bytes, the
    /// least first.
    pub fn varint(&mut self) -> u64 {
        match self.byte() {
            251 => u64::from(u16::from_le_bytes(self.array())),
            252 => u64::from(u32::from_le_bytes(self.array())),
            253 => u64::from_le_bytes(self.array()),
            small => {
                assert!(small < 251, "no number begins with {small}");
                u64::from(small)
            }
        }
    }

    pub fn counted(&mut self) -> &'a [u8] {
        let length = self.varint() as usize;
        self.bytes(length)
    }

    pub fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.counted()).unwrap()
    }

    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.varint()).map(|_| item(self)).collect()
    }

    /// One byte: 0 for nothing, 1 and then the value.
    pub fn option<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match self.byte() {
            0 => None,
            1 => Some(item(self)),
            other => panic!("an option begins with {other}"),
        }
    }

    pub fn end(self) {
        assert!(self.0.is_empty(), "bytes left over: {:?}", self.0);
    }
}
