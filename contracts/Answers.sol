// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Outcome, Reason} from "./IWaybill.sol";
import {Signatures} from "./Signatures.sol";
import {ReceiptFields, Statements} from "./Statements.sol";
import {Tasks} from "./Tasks.sol";

/// @dev A recipient's statements about a notice: Receipts of keys, WalletReceipt of a contract account.
abstract contract Answers is Tasks, Signatures {
    uint256 private constant NO_PAGE = type(uint256).max;

    /// @dev The notice's word while the receipts of one item are counted: read and written once. A notice has one page;
    /// authors of another find an empty word there.
    struct Ballot {
        uint256 page;
        bytes32 slot;
        uint256 word;
    }

    function _walletReceipt(bytes calldata data, bytes calldata signature) internal returns (bytes32 id, uint8) {
        (bool ok, ReceiptFields calldata r) = Statements.receipt(data, 0x80);
        uint256 accountWord = Statements.word(data, 0x60);
        if (!ok || accountWord >> 160 != 0) return (0, Reason.MALFORMED);
        address account = address(uint160(accountWord));
        bytes32 structHash = Statements.hash(Statements.WALLET_RECEIPT, data);
        id = Statements.id(structHash, account);
        Ballot memory b = Ballot(NO_PAGE, 0, 0);
        uint8 reason = _count(r, b, structHash, account);
        if (reason != Reason.OK) return (id, reason);
        if (!_isSigned(account, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _store(b.slot, b.word);
        if (r.outcome != Outcome.VERIFIED) _seen[id] = true;
        Head storage head = _heads[r.task];
        (uint64 seq, uint64 prevBlock) = _advance(head, head.word);
        emit WalletReceipt(r.task, seq, prevBlock, r.notice, uint8(r.outcome), account, signature);
        return (id, Reason.OK);
    }

    function _receipts(bytes calldata data, bytes calldata signatures) internal returns (uint8[] memory codes) {
        unchecked {
            (bool ok, ReceiptFields calldata r) = Statements.receipt(data, 0x60);
            if (!ok) return _single(0, Reason.MALFORMED);
            uint256 count = signatures.length / 65;
            if (count == 0 || count * 65 != signatures.length) return _single(0, Reason.BAD_SIGNATURE);
            uint256 code;
            (codes, code) = Statements.codes(count);
            Ballot memory b = Ballot(NO_PAGE, 0, 0);
            bytes32 structHash = Statements.hash(Statements.RECEIPT, data);
            bytes32 digest = _hashTypedData(structHash);
            uint256 log = Statements.reserve(0xe0 + signatures.length);
            uint256 end = log + 0xc0;
            uint256 pointer = _pointer(signatures);
            for (uint256 last = code + 0x20 * count; code != last; pointer += 65) {
                address author = _recover(digest, pointer);
                uint8 reason = author == address(0) ? Reason.BAD_SIGNATURE : _count(r, b, structHash, author);
                assembly ("memory-safe") {
                    code := add(code, 0x20)
                    mstore(code, and(reason, 0xff))
                }
                if (reason != Reason.OK) {
                    emit Skipped(author == address(0) ? bytes32(0) : Statements.id(structHash, author), reason);
                    continue;
                }
                if (r.outcome != Outcome.VERIFIED) _seen[Statements.id(structHash, author)] = true;
                assembly ("memory-safe") {
                    calldatacopy(end, pointer, 65)
                    end := add(end, 65)
                }
            }
            if (end != log + 0xc0) {
                if (b.word != 0) _store(b.slot, b.word);
                _emitReceipts(r, log, end);
            }
            Statements.release(code + 0x20);
        }
    }

    /// @dev Emits Receipts from `log`, where the accepted signatures lie behind 6 words that are still to be filled and
    /// end at `end`: encoding them again would cost more than a member's look-up.
    function _emitReceipts(ReceiptFields calldata r, uint256 log, uint256 end) private {
        Head storage head = _heads[r.task];
        (uint256 seq, uint256 prevBlock) = _advance(head, head.word);
        bytes32 topic = Receipts.selector;
        assembly ("memory-safe") {
            mstore(log, seq)
            mstore(add(log, 0x20), prevBlock)
            calldatacopy(add(log, 0x40), add(r, 0x20), 0x40) // notice, outcome
            mstore(add(log, 0x80), 0xa0)
            let size := sub(end, add(log, 0xc0))
            mstore(add(log, 0xa0), size)
            mstore(end, 0) // the padding
            log2(log, add(0xc0, and(add(size, 0x1f), not(0x1f))), topic, calldataload(r))
        }
    }

    /// @dev Counts an author's receipt in the ballot's word, or says why it doesn't count.
    function _count(ReceiptFields calldata r, Ballot memory b, bytes32 structHash, address author)
        private
        returns (uint8)
    {
        uint256 outcome = r.outcome;
        if (outcome == 0 || outcome > Outcome.REFUSED) return Reason.BAD_OUTCOME;
        uint256 standing = _members[r.task][author];
        if (standing == 0) return _heads[r.task].word == 0 ? Reason.UNKNOWN_TASK : Reason.UNKNOWN_MEMBER;
        uint256 index = uint32(standing);
        if (b.page != index / PAGE) _turn(r, b, index / PAGE);
        uint256 word = b.word;
        uint256 bit = 1 << (index % PAGE);
        // The author's bit is outstanding, its membership active, the deadline not over.
        if (word & bit << PAGE != 0 && standing & ACTIVE != 0 && block.timestamp <= _deadline(word)) {
            b.word = word ^ bit << PAGE | (outcome == Outcome.VERIFIED ? bit : 0);
            return Reason.OK;
        }
        return _refusal(r, word, standing, Statements.id(structHash, author));
    }

    function _turn(ReceiptFields calldata r, Ballot memory b, uint256 page) private {
        if (b.word != 0) _store(b.slot, b.word);
        b.page = page;
        b.slot = _noticeSlot(r.task, page, r.notice);
        b.word = _load(b.slot);
    }

    /// @dev Why a known member's receipt doesn't count: first of all because it has counted already.
    function _refusal(ReceiptFields calldata r, uint256 word, uint256 standing, bytes32 id)
        private
        view
        returns (uint8)
    {
        uint256 index = uint32(standing);
        bool counted = r.outcome == Outcome.VERIFIED
            ? word >> (index % PAGE) & 1 != 0 || _verifiedEarlier(r.task, r.notice, index)
            : _seen[id];
        if (counted) return Reason.DUPLICATE;
        if (word == 0) return Reason.UNKNOWN_NOTICE;
        if (standing & ACTIVE == 0) return Reason.EXPELLED;
        return block.timestamp > _deadline(word) ? Reason.EXPIRED : Reason.NOT_OUTSTANDING;
    }

    function _deadline(uint256 word) private pure returns (uint256) {
        return (word & ~WITHDRAWN) >> DEADLINE_SHIFT;
    }
}
