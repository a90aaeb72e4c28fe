// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Item, Kind, Outcome, Reason} from "./IWaybill.sol";
import {Signatures} from "./Signatures.sol";
import {ReceiptFields, Statements} from "./Statements.sol";
import {Tasks} from "./Tasks.sol";

/// @dev A recipient's statements about a notice: Receipts of keys, WalletReceipt of a contract account.
abstract contract Answers is Tasks, Signatures {
    /// @dev What Receipts items in a row share, looked up once. Its order matters: what is hashed together lies
    /// together, and is hashed where it lies. Nothing foreign is called while a run's task word waits to be written, so
    /// nobody sees the old one.
    struct Run {
        uint256 prefix; // 0x00: EIP-712's "\x19\x01" at its end; the digest is over this, the domain and the struct hash
        bytes32 separator; // 0x20
        bytes32 structHash; // 0x40
        bytes32 digest; // 0x60: with the next three what ecrecover takes
        uint256 v; // 0x80
        bytes32 r; // 0xa0
        uint256 s; // 0xc0
        address author; // 0xe0: with the next one where the author's word lies
        bytes32 members; // 0x100: the slot of the task's mapping
        bytes32 typeHash; // 0x120: with the next three the struct hash
        bytes32 task; // 0x140: with the next two where the notice's word lies
        bytes32 notice; // 0x160
        uint256 outcomeOrPage; // 0x180: the page, once the struct hash is made
        uint256 head; // 0x1a0: the task's word, zero when there is no such task
        bytes32 slot; // 0x1c0: of the notice's word
    }

    /// @dev Applies the Receipts items in a row that begins at `index`.
    /// @return The index of the item behind them.
    function _answers(Item[] calldata items, uint256 index, uint256 offsets) internal returns (uint256) {
        Run memory run;
        run.prefix = 0x1901;
        run.separator = _domainSeparator();
        run.typeHash = Statements.RECEIPT;
        unchecked {
            do {
                (uint256 kind, bytes calldata data, bytes calldata signatures) = Statements.item(items, index);
                if (kind != Kind.RECEIPTS) break;
                Statements.place(offsets, index, _receipts(run, data, signatures));
            } while (++index != items.length);
        }
        if (run.head != 0) _heads[run.task].word = run.head;
        return index;
    }

    /// @dev Turns to the receipts of another task.
    function _turnTo(Run memory run, bytes32 task) private {
        if (run.head != 0) _heads[run.task].word = run.head;
        run.head = _heads[task].word;
        run.members = _membersOf(task);
    }

    /// @dev The digest of a receipt, from the first of its three words.
    function _ask(Run memory run, ReceiptFields calldata r) private pure {
        assembly ("memory-safe") {
            calldatacopy(add(run, 0x140), r, 0x60)
            mstore(add(run, 0x40), keccak256(add(run, 0x120), 0x80))
            mstore(add(run, 0x60), keccak256(add(run, 0x1e), 0x42))
            mstore(add(run, 0x180), not(0)) // no page
        }
    }

    /// @dev The author behind the 65 bytes of calldata at `pointer`, or zero, and what it is in the task: as
    /// Signatures._recover, and a look into _members.
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

    function _turnPage(Run memory run, uint256 page, uint256 word) private returns (uint256) {
        if (word != 0) _store(run.slot, word);
        bytes32 slot;
        assembly ("memory-safe") {
            mstore(add(run, 0x180), page)
            slot := keccak256(add(run, 0x140), 0x60)
        }
        run.slot = slot;
        return _load(slot);
    }

    function _walletReceipt(bytes calldata data, bytes calldata signature) internal returns (bytes32 id, uint8) {
        (bool ok, ReceiptFields calldata r) = Statements.receipt(data, 0x80);
        uint256 accountWord = Statements.word(data, 0x60);
        if (!ok || accountWord >> 160 != 0) return (0, Reason.MALFORMED);
        address account = address(uint160(accountWord));
        bytes32 structHash = Statements.hash(Statements.WALLET_RECEIPT, data);
        id = Statements.id(structHash, account);
        Head storage head = _heads[r.task];
        uint256 standing = _members[r.task][account];
        bytes32 slot = _noticeSlot(r.task, uint32(standing) / PAGE, r.notice);
        uint256 word = _load(slot);
        uint256 counted = _count(word, standing, r.outcome);
        if (counted == 0) return (id, _refusal(r, head.word, word, standing, id));
        if (!_isSigned(account, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _store(slot, counted);
        if (r.outcome != Outcome.VERIFIED) _seen[id] = true;
        (uint64 seq, uint64 prevBlock) = _advance(head, head.word);
        emit WalletReceipt(r.task, seq, prevBlock, r.notice, uint8(r.outcome), account, signature);
        return (id, Reason.OK);
    }

    function _receipts(Run memory run, bytes calldata data, bytes calldata signatures)
        private
        returns (uint8[] memory codes)
    {
        unchecked {
            (uint256 count, ReceiptFields calldata r) = Statements.receipts(data, signatures);
            if (count == 0) return _single(0, _unreadable(data));
            if (run.head == 0 || run.task != r.task) _turnTo(run, r.task);
            _ask(run, r);
            uint256 code;
            uint256 end;
            assembly ("memory-safe") {
                codes := mload(0x40)
                mstore(codes, count)
                code := add(codes, 0x20)
                end := add(add(code, shl(5, count)), 0xc0)
                mstore(0x40, add(add(end, 0x20), signatures.length)) // given back below
            }
            uint256 pointer = _pointer(signatures);
            uint256 left = signatures.length;
            uint256 word;
            do {
                (address author, uint256 standing) = _recoverMember(run, pointer);
                if (run.outcomeOrPage != uint32(standing) / PAGE) word = _turnPage(run, uint32(standing) / PAGE, word);
                uint256 counted = _count(word, standing, r.outcome);
                uint8 reason;
                if (counted == 0) {
                    reason = _skipReceipt(run, r, word, standing, author);
                } else {
                    word = counted;
                    if (r.outcome != Outcome.VERIFIED) _seen[Statements.id(run.structHash, author)] = true;
                    assembly ("memory-safe") {
                        calldatacopy(end, pointer, 65)
                        end := add(end, 65)
                    }
                }
                assembly ("memory-safe") {
                    mstore(code, and(reason, 0xff))
                    code := add(code, 0x20)
                }
                pointer += 65;
                left -= 65;
            } while (left != 0);
            Statements.release(code);
            if (end != code + 0xc0) {
                _store(run.slot, word);
                _emitReceipts(run, r, code, end);
            }
        }
    }

    function _unreadable(bytes calldata data) private pure returns (uint8) {
        (bool ok,) = Statements.receipt(data, 0x60);
        return ok ? Reason.BAD_SIGNATURE : Reason.MALFORMED;
    }

    /// @dev Emits Receipts from `log`, where the accepted signatures lie behind 6 words that are still to be filled and
    /// end at `end`: encoding them again would cost more than a member's look-up.
    function _emitReceipts(Run memory run, ReceiptFields calldata r, uint256 log, uint256 end) private {
        (uint256 next, uint64 seq, uint64 prevBlock) = _next(run.head);
        run.head = next;
        bytes32 topic = Receipts.selector;
        assembly ("memory-safe") {
            mstore(log, seq)
            mstore(add(log, 0x20), prevBlock)
            calldatacopy(add(log, 0x40), add(r, 0x20), 0x40) // notice, outcome
            mstore(add(log, 0x80), 0xa0)
            mstore(add(log, 0xa0), sub(end, add(log, 0xc0)))
            mstore(end, 0) // the padding
            log2(log, and(add(sub(end, log), 0x1f), not(0x1f)), topic, calldataload(r))
        }
    }

    /// @dev The notice's word after an author's receipt, or zero when it doesn't count: the author's membership is
    /// active, its bit outstanding, the outcome one of four, and the deadline not over. Without branches, as most count.
    function _count(uint256 word, uint256 standing, uint256 outcome) private view returns (uint256) {
        unchecked {
            // An outstanding bit says that the notice isn't withdrawn: what is above the masks is its deadline.
            uint256 good = _toUint(outcome - 1 < Outcome.REFUSED) & _toUint(block.timestamp <= word >> DEADLINE_SHIFT);
            uint256 bit = (standing / ACTIVE & good) << (PAGE + uint32(standing) % PAGE);
            if (word & bit == 0) return 0;
            return word ^ bit ^ (bit * _toUint(outcome == Outcome.VERIFIED)) >> PAGE;
        }
    }

    function _toUint(bool value) private pure returns (uint256 result) {
        assembly ("memory-safe") {
            result := value
        }
    }

    function _skipReceipt(Run memory run, ReceiptFields calldata r, uint256 word, uint256 standing, address author)
        private
        returns (uint8 reason)
    {
        bytes32 id = author == address(0) ? bytes32(0) : Statements.id(run.structHash, author);
        reason = author == address(0) ? Reason.BAD_SIGNATURE : _refusal(r, run.head, word, standing, id);
        emit Skipped(id, reason);
    }

    /// @dev Why an author's receipt doesn't count; for a member first of all because it has counted already.
    function _refusal(ReceiptFields calldata r, uint256 head, uint256 word, uint256 standing, bytes32 id)
        private
        view
        returns (uint8)
    {
        if (r.outcome == 0 || r.outcome > Outcome.REFUSED) return Reason.BAD_OUTCOME;
        if (standing == 0) return head == 0 ? Reason.UNKNOWN_TASK : Reason.UNKNOWN_MEMBER;
        uint256 index = uint32(standing);
        bool counted = r.outcome == Outcome.VERIFIED
            ? word >> (index % PAGE) & 1 != 0 || _verifiedEarlier(r.task, r.notice, index)
            : _seen[id];
        if (counted) return Reason.DUPLICATE;
        if (word == 0) return Reason.UNKNOWN_NOTICE;
        if (standing & ACTIVE == 0) return Reason.EXPELLED;
        return block.timestamp > (word & ~WITHDRAWN) >> DEADLINE_SHIFT ? Reason.EXPIRED : Reason.NOT_OUTSTANDING;
    }
}
