//! RSA keys of a broken generator (CVE-2017-15361, "ROCA"): their primes are `k*M + 65537^a mod M`, where `M` is a
//! product of small primes. So the modulus, too, is a power of 65537 modulo each of these, which another key is with a
//! probability of less than 2^-27. Such a key can be factored.

/// The small primes modulo which 65537 does not generate everything.
const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus (big-endian) bears the generator's mark.
pub(super) fn is_weak(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        powers.take(*prime as usize).any(|power| power == remainder)
    })
}
