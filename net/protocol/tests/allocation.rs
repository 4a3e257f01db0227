//! What a decoder reserves stays within a bound, whatever lengths the bytes claim.
//!
//! The peak of the process's address space shows memory that was asked for even if it was never
//! touched. So this file holds one test, and it runs alone in its process.

use bytes::Bytes;
use millstream_protocol::any_message::{describe_request, describe_response};
use millstream_protocol::api::APIS;

/// The greatest address space that this process has had, in bytes.
fn peak_address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmPeak:"))
        .expect("it has VmPeak");
    let kilobytes = line.split_whitespace().nth(1).expect("a number follows");
    kilobytes.parse::<u64>().expect("it is a number") * 1024
}

/// Bodies of zeros with a huge length, in each encoding, at each of the first positions.
fn bodies_with_huge_lengths() -> impl Iterator<Item = Vec<u8>> {
    let lengths: [&[u8]; 4] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x07, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0x3f],
    ];
    lengths.into_iter().flat_map(|length| {
        (0..72).map(move |position| {
            let mut body = vec![0; 4096];
            body[position..position + length.len()].copy_from_slice(length);
            body
        })
    })
}

#[test]
fn no_length_makes_a_decoder_reserve_what_the_frame_does_not_hold() {
    let before = peak_address_space();
    for body in bodies_with_huge_lengths() {
        let body = Bytes::from(body);
        for api in APIS {
            for version in api.min_version..=api.max_version {
                let _ = describe_request(api, version, body.clone());
                let _ = describe_response(api, version, body.clone());
            }
        }
    }
    let grown = peak_address_space() - before;
    assert!(grown < 64 << 20, "the address space grew by {grown} bytes");
}
