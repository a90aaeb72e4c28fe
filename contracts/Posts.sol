// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Reason} from "./IWaybill.sol";
import {Signatures} from "./Signatures.sol";
import {MessageFields, NoticeFields, Statements} from "./Statements.sol";
import {Tasks} from "./Tasks.sol";

/// @dev A member's own statements: Notice, Withdraw, Message.
abstract contract Posts is Tasks, Signatures {
    uint256 private constant MAX_PAYLOAD = 4096;
    uint256 private constant MAX_AHEAD = 30 days;
    /// @dev A message's recipients: all who are active.
    uint256 private constant EVERYONE = type(uint256).max;

    function _notice(bytes calldata data, bytes calldata signature) internal returns (bytes32 id, uint8) {
        (bool ok, NoticeFields calldata n) = Statements.notice(data);
        if (!ok) return (0, Reason.MALFORMED);
        address sender = address(uint160(n.sender));
        bytes32 structHash = Statements.hash(Statements.NOTICE, data);
        id = Statements.id(structHash, sender);
        bytes32 slot = _noticeSlot(n.task, n.page, id);
        if (_load(slot) != 0) return (id, Reason.DUPLICATE);
        Head storage head = _heads[n.task];
        uint256 word = head.word;
        uint8 reason = _checkPost(n.task, sender, n.deadline, word);
        if (reason == Reason.OK) reason = _checkRecipients(n.page, n.recipients, _countOf(word));
        if (reason != Reason.OK) return (id, reason);
        if (!_isSigned(sender, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _store(slot, n.deadline << DEADLINE_SHIFT | n.recipients << PAGE);
        _emitNoticed(n, head, signature);
        return (id, Reason.OK);
    }

    function _emitNoticed(NoticeFields calldata n, Head storage head, bytes calldata signature) private {
        (uint64 seq, uint64 prevBlock) = _advance(head, head.word);
        emit Noticed(
            n.task,
            seq,
            prevBlock,
            address(uint160(n.sender)),
            uint16(n.page),
            n.recipients,
            n.transfer,
            n.manifest,
            uint48(n.deadline),
            signature
        );
    }

    function _message(bytes calldata data, bytes calldata signature) internal returns (bytes32 id, uint8) {
        (bool ok, MessageFields calldata m, bytes calldata payload) = Statements.message(data);
        if (!ok) return (0, Reason.MALFORMED);
        address sender = address(uint160(m.sender));
        bytes32 structHash = _hashMessage(m, payload);
        id = Statements.id(structHash, sender);
        if (_seen[id]) return (id, Reason.DUPLICATE);
        if (payload.length > MAX_PAYLOAD) return (id, Reason.TOO_LARGE);
        Head storage head = _heads[m.task];
        uint256 word = head.word;
        uint8 reason = _checkPost(m.task, sender, m.deadline, word);
        if (reason == Reason.OK && (m.recipients != EVERYONE || m.page != 0)) {
            reason = _checkRecipients(m.page, m.recipients, _countOf(word));
        }
        if (reason != Reason.OK) return (id, reason);
        if (!_isSigned(sender, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _seen[id] = true;
        _emitPosted(m, head, payload, signature);
        return (id, Reason.OK);
    }

    function _hashMessage(MessageFields calldata m, bytes calldata payload) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                Statements.MESSAGE,
                m.task,
                m.sender,
                m.page,
                m.recipients,
                m.kind,
                keccak256(payload),
                m.salt,
                m.deadline
            )
        );
    }

    function _emitPosted(
        MessageFields calldata m,
        Head storage head,
        bytes calldata payload,
        bytes calldata signature
    ) private {
        (uint64 seq, uint64 prevBlock) = _advance(head, head.word);
        emit Posted(
            m.task,
            seq,
            prevBlock,
            address(uint160(m.sender)),
            uint16(m.page),
            m.recipients,
            m.kind,
            payload,
            m.salt,
            uint48(m.deadline),
            signature
        );
    }

    /// @dev Good after the deadline too, and for a sender that was expelled since: it only ends what the sender began.
    function _withdraw(bytes calldata data, bytes calldata signature) internal returns (bytes32 id, uint8) {
        (bool ok, NoticeFields calldata n) = Statements.notice(data);
        if (!ok) return (0, Reason.MALFORMED);
        address sender = address(uint160(n.sender));
        bytes32 notice = Statements.id(Statements.hash(Statements.NOTICE, data), sender);
        bytes32 structHash = keccak256(abi.encode(Statements.WITHDRAW, n.task, notice));
        id = Statements.id(structHash, sender);
        bytes32 slot = _noticeSlot(n.task, n.page, notice);
        uint256 word = _load(slot);
        Head storage head = _heads[n.task];
        if (head.word == 0) return (id, Reason.UNKNOWN_TASK);
        if (word == 0) return (id, Reason.UNKNOWN_NOTICE);
        if (word & WITHDRAWN != 0) return (id, Reason.DUPLICATE);
        if (word >> PAGE & PAGE_MASK == 0) return (id, Reason.NOT_OUTSTANDING);
        if (!_isSigned(sender, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _store(slot, word & ~(PAGE_MASK << PAGE) | WITHDRAWN);
        (uint64 seq, uint64 prevBlock) = _advance(head, head.word);
        emit Withdrawn(n.task, seq, prevBlock, notice, signature);
        return (id, Reason.OK);
    }

    /// @dev What a notice and a message have in common: an active sender, and a deadline that is near but not over.
    function _checkPost(bytes32 task, address sender, uint256 deadline, uint256 head) private view returns (uint8) {
        if (head == 0) return Reason.UNKNOWN_TASK;
        uint256 standing = _members[task][sender];
        if (standing & ACTIVE == 0) return standing == 0 ? Reason.UNKNOWN_MEMBER : Reason.EXPELLED;
        if (block.timestamp > deadline) return Reason.EXPIRED;
        unchecked {
            return deadline - block.timestamp > MAX_AHEAD ? Reason.BAD_DEADLINE : Reason.OK;
        }
    }

    function _checkRecipients(uint256 page, uint256 recipients, uint256 count) private pure returns (uint8) {
        if (recipients == 0 || recipients >> PAGE != 0) return Reason.BAD_RECIPIENTS;
        unchecked {
            uint256 start = page * PAGE;
            uint256 enrolled = count > start ? count - start : 0;
            return recipients >> enrolled == 0 ? Reason.OK : Reason.UNKNOWN_RECIPIENT;
        }
    }
}
