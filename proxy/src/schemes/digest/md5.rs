//! MD5 (RFC 1321), for upstreams that know no other digest and providers that allow it; nothing else may rest on it.

/// The shift of each round's four steps.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The MD5 of some bytes.
pub(super) fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut state = START;
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().for_each(|block| add(&mut state, block));
    let mut last = [0; 128];
    for (slot, byte) in last.iter_mut().zip(rest.iter().chain(&[0x80])) {
        *slot = *byte;
    }
    let padded = if rest.len() < 56 { 64 } else { 128 };
    let bits = (bytes.len() as u64).wrapping_mul(8).to_le_bytes();
    for (slot, byte) in last.iter_mut().skip(padded - 8).zip(bits) {
        *slot = byte;
    }
    let (blocks, _) = last.as_chunks::<64>();
    blocks.iter().take(padded / 64).for_each(|block| add(&mut state, block));
    let mut out = [0; 16];
    for (slot, byte) in out.iter_mut().zip(state.iter().flat_map(|word| word.to_le_bytes())) {
        *slot = byte;
    }
    out
}

fn add(state: &mut [u32; 4], block: &[u8; 64]) {
    let (words, _) = block.as_chunks::<4>();
    let word = |at: usize| words.get(at % 16).map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64_usize {
        let (mixed, at) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let shift = SHIFTS.get(step / 16).and_then(|round| round.get(step % 4)).copied().unwrap_or(0);
        let sum = a.wrapping_add(mixed).wrapping_add(sine(step)).wrapping_add(word(at));
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(shift)));
    }
    for (slot, word) in state.iter_mut().zip([a, b, c, d]) {
        *slot = slot.wrapping_add(word);
    }
}

/// The constant of a step: the integer part of 2^32 times |sin(step + 1)|.
fn sine(step: usize) -> u32 {
    ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemes::shared::encode::hex;

    #[test]
    fn the_test_suite_of_rfc_1321_passes() {
        for (text, wanted) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(&md5(text.as_bytes())), wanted, "{text}");
        }
    }

    #[test]
    fn every_length_around_a_block_is_padded() {
        // As Python's hashlib has them, of that many `a`.
        for (length, wanted) in PADDED {
            assert_eq!(hex(&md5(&vec![b'a'; *length])), *wanted, "{length}");
        }
    }

    const PADDED: &[(usize, &str)] = &[
        (55, "ef1772b6dff9a122358552954ad0df65"),
        (56, "3b0c8ac703f828b04c6c197006d17218"),
        (57, "652b906d60af96844ebd21b674f35e93"),
        (63, "b06521f39153d618550606be297466d5"),
        (64, "014842d480b571495a4a0363793f7367"),
        (65, "c743a45e0d2e6a95cb859adae0248435"),
        (119, "8a7bd0732ed6a28ce75f6dabc90e1613"),
        (120, "5f61c0ccad4cac44c75ff505e1f1e537"),
        (128, "e510683b3f5ffe4093d021808bc6ff70"),
    ];
}
