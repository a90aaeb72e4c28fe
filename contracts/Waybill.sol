// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "./IWaybill.sol";
import {Signatures} from "./Signatures.sol";
import {MessageFields, NoticeFields, Statements} from "./Statements.sol";
import {Tasks} from "./Tasks.sol";

/// @dev Every statement's checks run from what is cheap and lasting to the signature, which is judged last; only then
/// is anything written. What is on the chain already is found out before anything that may have changed since.
contract Waybill is Tasks, Signatures {
    /// @dev So that a roster change fits into one transaction (16.78M gas, EIP-7825).
    uint256 private constant MAX_MEMBERS = 256;
    uint256 private constant MAX_PAYLOAD = 4096;
    uint256 private constant MAX_AHEAD = 30 days;
    /// @dev A message's recipients: all who are active.
    uint256 private constant EVERYONE = type(uint256).max;

    /// @inheritdoc IWaybill
    function relay(Item[] calldata items) external returns (uint8[][] memory results) {
        results = new uint8[][](items.length);
        for (uint256 i; i < items.length; ++i) {
            Item calldata item = items[i];
            if (item.kind == Kind.RECEIPTS) {
                results[i] = _receipts(item.data, item.signatures);
            } else {
                (bytes32 id, uint8 reason) = _apply(item.kind, item.data, item.signatures);
                results[i] = _single(id, reason);
            }
        }
    }

    function _apply(uint8 kind, bytes calldata data, bytes calldata signature) private returns (bytes32, uint8) {
        if (kind == Kind.NOTICE) return _notice(data, signature);
        if (kind == Kind.MESSAGE) return _message(data, signature);
        if (kind == Kind.WITHDRAW) return _withdraw(data, signature);
        if (kind == Kind.WALLET_RECEIPT) return _walletReceipt(data, signature);
        if (kind == Kind.OPEN) return _open(data, signature);
        if (kind == Kind.ADMIT || kind == Kind.EXPEL) return _changeRoster(kind, data, signature);
        return (0, Reason.BAD_KIND);
    }

    function _single(bytes32 id, uint8 reason) private returns (uint8[] memory results) {
        results = new uint8[](1);
        results[0] = reason;
        if (reason != Reason.OK) emit Skipped(id, reason);
    }

    function _open(bytes calldata data, bytes calldata signature) private returns (bytes32 id, uint8) {
        (bool ok, address[] calldata accounts) = Statements.list(data, 0x40);
        uint256 ownerWord = Statements.word(data, 0);
        if (!ok || ownerWord >> 160 != 0) return (0, Reason.MALFORMED);
        address owner = address(uint160(ownerWord));
        bytes32 salt = bytes32(Statements.word(data, 0x20));
        bytes32 structHash = keccak256(abi.encode(Statements.OPEN, owner, salt, Statements.hash(accounts)));
        id = Statements.id(structHash, owner);
        bytes32 task = keccak256(abi.encode(owner, salt));
        uint96 opening = uint96(uint256(id) >> 160);
        uint8 reason = _checkMembers(accounts);
        if (reason != Reason.OK) return (id, reason);
        if (_heads[task].version != 0) {
            return (id, _origins[task].opening == opening ? Reason.DUPLICATE : Reason.TASK_EXISTS);
        }
        if (!_isSigned(owner, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        Head memory head = Head({seq: 0, blockNumber: 0, count: 0, version: 1});
        _origins[task] = Origin(owner, opening);
        _enroll(task, head, accounts);
        (uint64 seq, uint64 prevBlock) = _advance(task, head);
        emit Opened(task, seq, prevBlock, owner, salt, accounts, signature);
        return (id, Reason.OK);
    }

    function _changeRoster(uint8 kind, bytes calldata data, bytes calldata signature)
        private
        returns (bytes32 id, uint8)
    {
        (bool ok, address[] calldata accounts) = Statements.list(data, 0x20);
        bytes32 task = bytes32(Statements.word(data, 0));
        uint256 version = Statements.word(data, 0x40);
        if (!ok || version >> 32 != 0) return (0, Reason.MALFORMED);
        Head memory head = _heads[task];
        if (head.version == 0) return (0, Reason.UNKNOWN_TASK);
        address owner = _origins[task].owner;
        bytes32 typeHash = kind == Kind.ADMIT ? Statements.ADMIT : Statements.EXPEL;
        bytes32 structHash = keccak256(abi.encode(typeHash, task, Statements.hash(accounts), version));
        id = Statements.id(structHash, owner);
        uint8 reason = _checkMembers(accounts);
        if (reason != Reason.OK) return (id, reason);
        if (_seen[id]) return (id, Reason.DUPLICATE);
        if (version < head.version) return (id, Reason.STALE_ROSTER);
        if (version > head.version) return (id, Reason.FUTURE_ROSTER);
        if (!_isSigned(owner, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _seen[id] = true;
        head.version = uint32(version + 1);
        if (kind == Kind.ADMIT) _enroll(task, head, accounts);
        else _dismiss(task, accounts);
        (uint64 seq, uint64 prevBlock) = _advance(task, head);
        if (kind == Kind.ADMIT) emit Admitted(task, seq, prevBlock, uint32(version), accounts, signature);
        else emit Expelled(task, seq, prevBlock, uint32(version), accounts, signature);
        return (id, Reason.OK);
    }

    function _notice(bytes calldata data, bytes calldata signature) private returns (bytes32 id, uint8) {
        (bool ok, NoticeFields calldata n) = Statements.notice(data);
        if (!ok) return (0, Reason.MALFORMED);
        address sender = address(uint160(n.sender));
        bytes32 structHash = Statements.hash(Statements.NOTICE, data);
        id = Statements.id(structHash, sender);
        bytes32 key = _noticeKey(n.task, n.page, id);
        if (_notices[key] != 0) return (id, Reason.DUPLICATE);
        Head memory head = _heads[n.task];
        uint8 reason = _checkPost(n.task, sender, n.deadline, head);
        if (reason == Reason.OK) reason = _checkRecipients(n.page, n.recipients, head.count);
        if (reason != Reason.OK) return (id, reason);
        if (!_isSigned(sender, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _notices[key] = n.deadline << DEADLINE_SHIFT | n.recipients << PAGE;
        _emitNoticed(n, head, signature);
        return (id, Reason.OK);
    }

    function _emitNoticed(NoticeFields calldata n, Head memory head, bytes calldata signature) private {
        (uint64 seq, uint64 prevBlock) = _advance(n.task, head);
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

    function _message(bytes calldata data, bytes calldata signature) private returns (bytes32 id, uint8) {
        (bool ok, MessageFields calldata m, bytes calldata payload) = Statements.message(data);
        if (!ok) return (0, Reason.MALFORMED);
        address sender = address(uint160(m.sender));
        bytes32 structHash = _hashMessage(m, payload);
        id = Statements.id(structHash, sender);
        if (_seen[id]) return (id, Reason.DUPLICATE);
        if (payload.length > MAX_PAYLOAD) return (id, Reason.TOO_LARGE);
        Head memory head = _heads[m.task];
        uint8 reason = _checkPost(m.task, sender, m.deadline, head);
        if (reason == Reason.OK && (m.recipients != EVERYONE || m.page != 0)) {
            reason = _checkRecipients(m.page, m.recipients, head.count);
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
        Head memory head,
        bytes calldata payload,
        bytes calldata signature
    ) private {
        (uint64 seq, uint64 prevBlock) = _advance(m.task, head);
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
    function _withdraw(bytes calldata data, bytes calldata signature) private returns (bytes32 id, uint8) {
        (bool ok, NoticeFields calldata n) = Statements.notice(data);
        if (!ok) return (0, Reason.MALFORMED);
        address sender = address(uint160(n.sender));
        bytes32 notice = Statements.id(Statements.hash(Statements.NOTICE, data), sender);
        bytes32 structHash = keccak256(abi.encode(Statements.WITHDRAW, n.task, notice));
        id = Statements.id(structHash, sender);
        bytes32 key = _noticeKey(n.task, n.page, notice);
        uint256 word = _notices[key];
        Head memory head = _heads[n.task];
        if (head.version == 0) return (id, Reason.UNKNOWN_TASK);
        if (word == 0) return (id, Reason.UNKNOWN_NOTICE);
        if (word & WITHDRAWN != 0) return (id, Reason.DUPLICATE);
        if (word >> PAGE & PAGE_MASK == 0) return (id, Reason.NOT_OUTSTANDING);
        if (!_isSigned(sender, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _notices[key] = word & ~(PAGE_MASK << PAGE) | WITHDRAWN;
        (uint64 seq, uint64 prevBlock) = _advance(n.task, head);
        emit Withdrawn(n.task, seq, prevBlock, notice, signature);
        return (id, Reason.OK);
    }

    function _walletReceipt(bytes calldata data, bytes calldata signature) private returns (bytes32 id, uint8) {
        uint256 outcome = Statements.word(data, 0x40);
        uint256 accountWord = Statements.word(data, 0x60);
        if (data.length != 0x80 || outcome >> 8 != 0 || accountWord >> 160 != 0) return (0, Reason.MALFORMED);
        bytes32 task = bytes32(Statements.word(data, 0));
        bytes32 notice = bytes32(Statements.word(data, 0x20));
        address account = address(uint160(accountWord));
        bytes32 structHash = Statements.hash(Statements.WALLET_RECEIPT, data);
        id = Statements.id(structHash, account);
        Head memory head = _heads[task];
        (uint8 reason, bytes32 key, uint256 word) = _answer(head, task, notice, outcome, account, id);
        if (reason != Reason.OK) return (id, reason);
        if (!_isSigned(account, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _notices[key] = word;
        if (outcome != Outcome.VERIFIED) _seen[id] = true;
        (uint64 seq, uint64 prevBlock) = _advance(task, head);
        emit WalletReceipt(task, seq, prevBlock, notice, uint8(outcome), account, signature);
        return (id, Reason.OK);
    }

    function _receipts(bytes calldata data, bytes calldata signatures) private returns (uint8[] memory results) {
        uint256 outcome = Statements.word(data, 0x40);
        if (data.length != 0x60 || outcome >> 8 != 0) return _single(0, Reason.MALFORMED);
        if (signatures.length == 0 || signatures.length % 65 != 0) return _single(0, Reason.BAD_SIGNATURE);
        bytes32 task = bytes32(Statements.word(data, 0));
        bytes32 notice = bytes32(Statements.word(data, 0x20));
        bytes32 structHash = Statements.hash(Statements.RECEIPT, data);
        bytes32 digest = _hashTypedData(structHash);
        Head memory head = _heads[task];
        results = new uint8[](signatures.length / 65);
        bytes memory accepted = new bytes(signatures.length);
        uint256 size;
        for (uint256 i; i < results.length; ++i) {
            bytes calldata signature = signatures[i * 65:i * 65 + 65];
            results[i] = _receipt(head, task, notice, outcome, structHash, _recover(digest, signature));
            if (results[i] != Reason.OK) continue;
            assembly ("memory-safe") {
                calldatacopy(add(add(accepted, 0x20), size), signature.offset, 65)
                size := add(size, 65)
            }
        }
        if (size == 0) return results;
        assembly ("memory-safe") {
            mstore(accepted, size)
        }
        (uint64 seq, uint64 prevBlock) = _advance(task, head);
        emit Receipts(task, seq, prevBlock, notice, uint8(outcome), accepted);
    }

    function _receipt(
        Head memory head,
        bytes32 task,
        bytes32 notice,
        uint256 outcome,
        bytes32 structHash,
        address author
    ) private returns (uint8 reason) {
        bytes32 id;
        bytes32 key;
        uint256 word;
        if (author == address(0)) {
            reason = Reason.BAD_SIGNATURE;
        } else {
            id = Statements.id(structHash, author);
            (reason, key, word) = _answer(head, task, notice, outcome, author, id);
        }
        if (reason != Reason.OK) {
            emit Skipped(id, reason);
            return reason;
        }
        _notices[key] = word;
        if (outcome != Outcome.VERIFIED) _seen[id] = true;
    }

    /// @dev What a receipt makes of its notice's word, or why it doesn't count.
    function _answer(
        Head memory head,
        bytes32 task,
        bytes32 notice,
        uint256 outcome,
        address author,
        bytes32 id
    ) private view returns (uint8 reason, bytes32 key, uint256 word) {
        if (outcome < Outcome.VERIFIED || outcome > Outcome.REFUSED) return (Reason.BAD_OUTCOME, key, word);
        if (head.version == 0) return (Reason.UNKNOWN_TASK, key, word);
        uint256 standing = _members[task][author];
        if (standing == 0) return (Reason.UNKNOWN_MEMBER, key, word);
        uint256 index = uint32(standing);
        key = _noticeKey(task, index / PAGE, notice);
        word = _notices[key];
        uint256 bit = 1 << (index % PAGE);
        bool counts = word & bit << PAGE != 0 && standing & ACTIVE != 0 && block.timestamp <= _deadline(word);
        if (!counts) return (_refusal(task, notice, outcome, standing, word, id), key, word);
        word ^= bit << PAGE;
        if (outcome == Outcome.VERIFIED) word |= bit;
    }

    /// @dev Why a known member's receipt doesn't count: first of all because it has counted already.
    function _refusal(
        bytes32 task,
        bytes32 notice,
        uint256 outcome,
        uint256 standing,
        uint256 word,
        bytes32 id
    ) private view returns (uint8) {
        uint256 index = uint32(standing);
        bool counted = outcome == Outcome.VERIFIED
            ? word >> (index % PAGE) & 1 != 0 || _verifiedEarlier(task, notice, index)
            : _seen[id];
        if (counted) return Reason.DUPLICATE;
        if (word == 0) return Reason.UNKNOWN_NOTICE;
        if (standing & ACTIVE == 0) return Reason.EXPELLED;
        return block.timestamp > _deadline(word) ? Reason.EXPIRED : Reason.NOT_OUTSTANDING;
    }

    function _deadline(uint256 word) private pure returns (uint256) {
        return (word & ~WITHDRAWN) >> DEADLINE_SHIFT;
    }

    function _checkMembers(address[] calldata accounts) private pure returns (uint8) {
        if (accounts.length == 0 || accounts.length > MAX_MEMBERS) return Reason.BAD_MEMBERS;
        (uint256 least, uint256 most) = Statements.range(accounts);
        if (most >> 160 != 0) return Reason.MALFORMED;
        return least == 0 ? Reason.BAD_MEMBERS : Reason.OK;
    }

    /// @dev What a notice and a message have in common: an active sender, and a deadline that is near but not over.
    function _checkPost(bytes32 task, address sender, uint256 deadline, Head memory head)
        private
        view
        returns (uint8)
    {
        if (head.version == 0) return Reason.UNKNOWN_TASK;
        if (block.timestamp > deadline) return Reason.EXPIRED;
        if (deadline > block.timestamp + MAX_AHEAD) return Reason.BAD_DEADLINE;
        return _standing(task, sender);
    }

    function _checkRecipients(uint256 page, uint256 recipients, uint256 count) private pure returns (uint8) {
        if (recipients == 0 || recipients >> PAGE != 0) return Reason.BAD_RECIPIENTS;
        uint256 start = page * PAGE;
        uint256 enrolled = count > start ? count - start : 0;
        return recipients >> enrolled == 0 ? Reason.OK : Reason.UNKNOWN_RECIPIENT;
    }
}
