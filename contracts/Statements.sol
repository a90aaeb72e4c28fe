// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Item} from "./IWaybill.sol";
import {EfficientHashLib} from "solady/src/utils/EfficientHashLib.sol";

/// @dev The fields of a Notice as they lie in calldata. Every field is a whole word, so that reading one never
/// reverts; `Statements.notice` has checked that the narrow ones are narrow.
struct NoticeFields {
    bytes32 task;
    uint256 sender;
    uint256 page;
    uint256 recipients;
    bytes32 transfer;
    bytes32 manifest;
    uint256 deadline;
}

/// @dev What a Receipt and a WalletReceipt begin with.
struct ReceiptFields {
    bytes32 task;
    bytes32 notice;
    uint256 outcome;
}

/// @dev The head of a Message in calldata; the payload follows it.
struct MessageFields {
    bytes32 task;
    uint256 sender;
    uint256 page;
    uint256 recipients;
    bytes32 kind;
    uint256 payloadOffset;
    bytes32 salt;
    uint256 deadline;
}

/// @dev Reads an item's data in place, and hashes it by EIP-712. Only the canonical encoding is taken: what the
/// author signed is then exactly what was read, and no bit of it can revert a relay.
library Statements {
    bytes32 internal constant OPEN = keccak256("Open(address owner,bytes32 salt,address[] members)");
    bytes32 internal constant ADMIT = keccak256("Admit(bytes32 task,address[] members,uint32 roster)");
    bytes32 internal constant EXPEL = keccak256("Expel(bytes32 task,address[] members,uint32 roster)");
    bytes32 internal constant NOTICE = keccak256(
        "Notice(bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 transfer,bytes32 manifest,uint48 deadline)"
    );
    bytes32 internal constant RECEIPT = keccak256("Receipt(bytes32 task,bytes32 notice,uint8 outcome)");
    bytes32 internal constant WALLET_RECEIPT =
        keccak256("WalletReceipt(bytes32 task,bytes32 notice,uint8 outcome,address account)");
    bytes32 internal constant WITHDRAW = keccak256("Withdraw(bytes32 task,bytes32 notice)");
    bytes32 internal constant MESSAGE = keccak256(
        "Message(bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 kind,bytes payload,bytes32 salt,uint48 deadline)"
    );

    /// @dev The statement id: equal statements of two authors are two statements.
    function id(bytes32 structHash, address author) internal pure returns (bytes32) {
        return EfficientHashLib.hash(structHash, bytes32(uint256(uint160(author))));
    }

    /// @dev The struct hash of a statement without dynamic fields: its encoding is what EIP-712 hashes.
    function hash(bytes32 typeHash, bytes calldata data) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let m := mload(0x40)
            mstore(m, typeHash)
            calldatacopy(add(m, 0x20), data.offset, data.length)
            result := keccak256(m, add(data.length, 0x20))
        }
    }

    /// @dev One item's parts. Nothing is checked against the end of the calldata, because nothing needs it: what lies
    /// beyond reads as zero, and whatever is read is covered by a signature. A length that no calldata can have makes
    /// both empty: of receipts that is MALFORMED, of every other kind a statement that is no encoding of one.
    function item(Item[] calldata items, uint256 index)
        internal
        pure
        returns (uint256 kind, bytes calldata data, bytes calldata signatures)
    {
        assembly ("memory-safe") {
            let head := add(items.offset, calldataload(add(items.offset, shl(5, index))))
            kind := calldataload(head)
            let start := add(head, calldataload(add(head, 0x20)))
            data.offset := add(start, 0x20)
            data.length := calldataload(start)
            start := add(head, calldataload(add(head, 0x40)))
            signatures.offset := add(start, 0x20)
            signatures.length := calldataload(start)
            if gt(or(data.length, signatures.length), 0xffffffff) {
                data.length := 0
                signatures.length := 0
            }
        }
    }

    /// @dev Notes where an item's codes lie.
    function place(uint256 offsets, uint256 index, uint8[] memory codes) internal pure {
        assembly ("memory-safe") {
            mstore(add(offsets, shl(5, index)), sub(codes, offsets))
        }
    }

    function word(bytes calldata data, uint256 offset) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := calldataload(add(data.offset, offset))
        }
    }

    function notice(bytes calldata data) internal pure returns (bool ok, NoticeFields calldata n) {
        assembly ("memory-safe") {
            n := data.offset
        }
        ok = data.length == 0xe0 && n.sender >> 160 == 0 && n.page >> 16 == 0 && n.deadline >> 48 == 0;
    }

    /// @dev A receipt of `size` bytes: more than its three fields when it names its account too.
    function receipt(bytes calldata data, uint256 size) internal pure returns (bool ok, ReceiptFields calldata r) {
        assembly ("memory-safe") {
            r := data.offset
        }
        ok = data.length == size && r.outcome >> 8 == 0;
    }

    /// @dev The number of signatures, or zero unless these are the receipts of one or more authors.
    function receipts(bytes calldata data, bytes calldata signatures)
        internal
        pure
        returns (uint256 count, ReceiptFields calldata r)
    {
        assembly ("memory-safe") {
            r := data.offset
            count := div(signatures.length, 65)
            let ok := and(eq(data.length, 0x60), eq(mul(count, 65), signatures.length))
            count := mul(count, and(ok, lt(calldataload(add(r, 0x40)), 0x100)))
        }
    }

    function message(bytes calldata data)
        internal
        pure
        returns (bool ok, MessageFields calldata m, bytes calldata payload)
    {
        assembly ("memory-safe") {
            m := data.offset
            payload.offset := add(data.offset, 0x120)
            payload.length := 0
        }
        if (data.length < 0x120 || m.payloadOffset != 0x100) return (false, m, payload);
        uint256 tail = data.length - 0x120;
        uint256 length = word(data, 0x100);
        if (length > tail || tail - length > 31 || tail % 32 != 0) return (false, m, payload);
        assembly ("memory-safe") {
            payload.length := length
        }
        ok = m.sender >> 160 == 0 && m.page >> 16 == 0 && m.deadline >> 48 == 0;
    }

    /// @dev The list that ends an Open, Admit or Expel, after a head of three words of which the one at `offset` is
    /// its offset. Its entries are still to be looked at.
    function list(bytes calldata data, uint256 offset) internal pure returns (bool ok, address[] calldata members) {
        assembly ("memory-safe") {
            members.offset := add(data.offset, 0x80)
            members.length := 0
        }
        if (data.length < 0x80 || data.length % 32 != 0 || word(data, offset) != 0x60) return (false, members);
        uint256 length = (data.length - 0x80) / 32;
        ok = word(data, 0x60) == length;
        assembly ("memory-safe") {
            members.length := length
        }
    }

    /// @dev What EIP-712 puts in the place of a list of addresses.
    function hash(address[] calldata members) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let m := mload(0x40)
            let size := shl(5, members.length)
            calldatacopy(m, members.offset, size)
            result := keccak256(m, size)
        }
    }

    /// @dev The smallest and the largest entry, for two range checks on a whole list.
    function range(address[] calldata members) internal pure returns (uint256 least, uint256 most) {
        assembly ("memory-safe") {
            least := not(0)
            let end := add(members.offset, shl(5, members.length))
            for { let p := members.offset } lt(p, end) { p := add(p, 0x20) } {
                let entry := calldataload(p)
                if lt(entry, least) { least := entry }
                if gt(entry, most) { most := entry }
            }
        }
    }
}
