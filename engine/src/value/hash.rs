//! stub
#[derive(Clone, Debug)]
pub struct Hash;
impl Hash {
    pub fn memory_bytes(&self) -> usize {
        0
    }
    pub fn free_step(&mut self, _: usize) -> bool {
        true
    }
}
