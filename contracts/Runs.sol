// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Answers} from "./Answers.sol";
import {Item, Kind, Outcome, Reason} from "./IWaybill.sol";
import {ReceiptFields, Statements} from "./Statements.sol";

/// @dev Receipts of keys: by far the most frequent statements, so a relay's Receipts items in a row are one run, which
/// looks up only once what they share, writes a task's word once and tells of them in one event. It keeps its working
/// memory laid out so that nothing is copied to be hashed.
abstract contract Runs is Answers {
    /// @dev A run's working memory. The order matters: what is hashed together lies together.
    struct Run {
        // The digest is over these, from the last two bytes of the first on.
        uint256 prefix; // 0x00: "\x19\x01"
        bytes32 separator; // 0x20: the domain
        bytes32 structHash; // 0x40
        // What ecrecover takes.
        bytes32 digest; // 0x60
        uint256 v; // 0x80
        bytes32 r; // 0xa0
        uint256 s; // 0xc0
        // What it answers, and the slot of the task's mapping: together where the author's word lies.
        address author; // 0xe0
        bytes32 members; // 0x100
        // The struct hash is over these four. The last three are also where the notice's word lies: when the struct
        // hash is made, the page takes the outcome's place.
        bytes32 typeHash; // 0x120
        bytes32 task; // 0x140
        bytes32 notice; // 0x160
        uint256 outcomeOrPage; // 0x180
        // The task's word, as it was before its receipts; zero when there is no such task.
        uint256 head; // 0x1a0
        // Of the notice's word.
        bytes32 slot; // 0x1c0
        // Where `Statements.place` notes the codes; the first item of the task; whether a receipt of it has counted.
        uint256 offsets; // 0x1e0
        uint256 first; // 0x200
        bool counted; // 0x220
    }

    uint256 private constant NO_PAGE = type(uint256).max;

    /// @dev Applies the Receipts items in a row that begins at `index`, and notes where their codes lie. Nothing
    /// foreign is called in a run, so nobody sees a task whose word is still to be written.
    /// @return The index of the item behind them.
    function _answers(Item[] calldata items, uint256 index, uint256 offsets) internal returns (uint256) {
        Run memory run;
        run.prefix = 0x1901;
        run.separator = _domainSeparator();
        run.typeHash = Statements.RECEIPT;
        run.members = _membersOf(0); // `run.task` is 0: there is no such task, and its members are none
        run.offsets = offsets;
        run.first = index;
        unchecked {
            while (true) {
                (uint256 kind, bytes calldata data, bytes calldata signatures) = Statements.item(items, index);
                if (kind != Kind.RECEIPTS) break;
                Statements.place(offsets, index, _receipts(run, index, data, signatures));
                if (++index == items.length) break;
            }
        }
        _tell(run, index);
        return index;
    }

    function _receipts(Run memory run, uint256 index, bytes calldata data, bytes calldata signatures)
        private
        returns (uint8[] memory codes)
    {
        unchecked {
            (uint256 count, ReceiptFields calldata r) = Statements.receipts(data, signatures);
            if (count == 0) return _single(0, _unreadable(data));
            if (run.task != r.task) _turnTo(run, index, r.task);
            _ask(run, r);
            uint256 pointer = _pointer(signatures);
            uint256 code;
            (codes, code) = _codesFor(r, pointer, count);
            bool any;
            uint256 word;
            while (true) {
                (address author, uint256 standing) = _recoverMember(run, pointer);
                uint256 page = uint32(standing) / PAGE;
                if (run.outcomeOrPage != page) word = _turnPage(run, page, word);
                uint256 counted = _count(word, standing, r.outcome);
                uint8 reason;
                if (counted == 0) {
                    reason = _skip(run, r, word, standing, author);
                } else {
                    word = counted;
                    any = true;
                    if (r.outcome != Outcome.VERIFIED) _seen[Statements.id(run.structHash, author)] = true;
                }
                assembly ("memory-safe") {
                    mstore(code, and(reason, 0xff))
                    code := add(code, 0x20)
                }
                if (--count == 0) break;
                pointer += 65;
            }
            if (any) {
                _store(run.slot, word);
                run.counted = true;
            }
        }
    }

    /// @dev Room for an item's codes, and where the first one lies. The word before them says where in calldata its
    /// fields (from bit 64) and signatures are: not far, because each has a length, which is read from before it.
    function _codesFor(ReceiptFields calldata r, uint256 pointer, uint256 count)
        private
        pure
        returns (uint8[] memory codes, uint256 code)
    {
        assembly ("memory-safe") {
            let place := mload(0x40)
            mstore(place, or(shl(64, r), pointer))
            codes := add(place, 0x20)
            mstore(codes, count)
            code := add(codes, 0x20)
            mstore(0x40, add(code, shl(5, count)))
        }
    }

    function _unreadable(bytes calldata data) private pure returns (uint8) {
        (bool ok,) = Statements.receipt(data, 0x60);
        return ok ? Reason.BAD_SIGNATURE : Reason.MALFORMED;
    }

    /// @dev Turns to the receipts of another task.
    function _turnTo(Run memory run, uint256 index, bytes32 task) private {
        _tell(run, index);
        run.task = task;
        run.head = _heads[task].word;
        run.members = _membersOf(task);
        run.first = index;
        run.counted = false;
    }

    /// @dev Takes the receipt's three words and makes its digest.
    function _ask(Run memory run, ReceiptFields calldata r) private pure {
        assembly ("memory-safe") {
            calldatacopy(add(run, 0x140), r, 0x60)
            mstore(add(run, 0x40), keccak256(add(run, 0x120), 0x80))
            mstore(add(run, 0x60), keccak256(add(run, 0x1e), 0x42))
        }
        run.outcomeOrPage = NO_PAGE;
    }

    /// @dev The author behind the 65 bytes of calldata at `pointer`, or zero, and its word in _members; otherwise as
    /// Signatures._recover.
    function _recoverMember(Run memory run, uint256 pointer) private view returns (address author, uint256 standing) {
        assembly ("memory-safe") {
            mstore(add(run, 0x80), byte(0, calldataload(add(pointer, 0x40)))) // v
            calldatacopy(add(run, 0xa0), pointer, 0x40) // r and s
            let answer := add(run, 0xe0)
            mstore(answer, 0)
            if iszero(gt(mload(add(run, 0xc0)), HALF_N)) {
                pop(staticcall(gas(), 1, add(run, 0x60), 0x80, answer, 0x20))
            }
            author := mload(answer)
            standing := sload(keccak256(answer, 0x40))
        }
    }

    /// @dev Puts the notice's word on the page before away, and answers the one on this page. A notice has one page;
    /// authors of another find an empty word there.
    function _turnPage(Run memory run, uint256 page, uint256 word) private returns (uint256) {
        if (word != 0) _store(run.slot, word);
        bytes32 slot;
        run.outcomeOrPage = page;
        assembly ("memory-safe") {
            slot := keccak256(add(run, 0x140), 0x60) // as _noticeSlot
        }
        run.slot = slot;
        return _load(slot);
    }

    function _skip(Run memory run, ReceiptFields calldata r, uint256 word, uint256 standing, address author)
        private
        returns (uint8 reason)
    {
        bytes32 id = author == address(0) ? bytes32(0) : Statements.id(run.structHash, author);
        reason = author == address(0) ? Reason.BAD_SIGNATURE : _refusal(r, run.head, word, standing, id);
        emit Skipped(id, reason);
    }

    /// @dev Moves the task's line on and emits its Receipts, if any item from `run.first` to before `end` counted. They
    /// are packed only here, behind all codes, because items may share calldata: nothing else tells how long they get.
    function _tell(Run memory run, uint256 end) private {
        if (!run.counted) return;
        (uint256 next, uint64 seq, uint64 prevBlock) = _next(run.head);
        bytes32 task = run.task;
        _heads[task].word = next;
        bytes32 topic = Receipts.selector;
        uint256 offsets = run.offsets;
        uint256 first = run.first;
        assembly ("memory-safe") {
            // The group of the item with these codes; nothing if none of them is zero.
            function pack(code, group) -> behind {
                let place := mload(sub(code, 0x20))
                let pointer := and(place, 0xffffffffffffffff)
                let to := add(group, 34)
                for { let last := add(code, shl(5, mload(code))) } lt(code, last) { pointer := add(pointer, 65) } {
                    code := add(code, 0x20)
                    if iszero(mload(code)) {
                        calldatacopy(to, pointer, 65)
                        to := add(to, 65)
                    }
                }
                behind := group
                let size := sub(to, group)
                if gt(size, 34) {
                    let fields := shr(64, place)
                    calldatacopy(group, add(fields, 0x20), 0x20) // notice
                    mstore8(add(group, 32), calldataload(add(fields, 0x40))) // outcome
                    mstore8(add(group, 33), div(size, 65)) // a page's members at most
                    behind := to
                }
            }
            let log := mload(0x40)
            let groups := add(log, 0x80)
            let to := groups
            let last := add(offsets, shl(5, end))
            for { let p := add(offsets, shl(5, first)) } lt(p, last) { p := add(p, 0x20) } {
                to := pack(add(offsets, mload(p)), to)
            }
            mstore(log, seq)
            mstore(add(log, 0x20), prevBlock)
            mstore(add(log, 0x40), 0x60)
            mstore(add(log, 0x60), sub(to, groups))
            mstore(to, 0) // the padding
            log2(log, and(add(sub(to, log), 0x1f), not(0x1f)), topic, task)
        }
    }
}
