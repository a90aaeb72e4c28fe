// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice One entry of a relay. `data` is the ABI encoding of the statement's fields in the order of its EIP-712
/// type (without a leading offset), except:
/// - RECEIPTS: `data` is (task, notice, outcome), `signatures` is n 65-byte signatures, whose authors are recovered;
/// - WITHDRAW: `data` is the notice's own fields, from which the contract computes the notice's id and its sender.
/// @param kind What the item is: one of Kind.
/// @param data The statement's fields.
/// @param signatures The author's signature, 65 bytes of a key or whatever a contract account takes; of RECEIPTS many.
struct Item {
    uint8 kind;
    bytes data;
    bytes signatures;
}

/// @notice A place in a task's roster.
/// @param account Who was given the place.
/// @param active Whether the account's statements count, under this very index.
struct Member {
    address account;
    bool active;
}

/// @dev What an Item may be, and when it takes effect. The EIP-712 types are in Statements.sol.
library Kind {
    /// @dev Once for an owner and a salt, by the owner. 1 to 256 members, which get the indices from 0.
    uint8 internal constant OPEN = 0;
    /// @dev By the owner, against the present roster version, which it raises by one. Gives each listed account that
    /// isn't active the next index, in order; the others are passed over. Indices are never used again.
    uint8 internal constant ADMIT = 1;
    /// @dev As ADMIT. Accounts that aren't active are passed over.
    uint8 internal constant EXPEL = 2;
    /// @dev By an active member, before its deadline, which is at most 30 days ahead. Its recipients are bits of one
    /// page, for indices that somebody has.
    uint8 internal constant NOTICE = 3;
    /// @dev By active members whose bit is outstanding, while the block's time is not past the notice's deadline.
    uint8 internal constant RECEIPTS = 4;
    /// @dev As RECEIPTS, for a contract account. It names the account, so that a key that owns two wallets can't be
    /// taken to have answered for both.
    uint8 internal constant WALLET_RECEIPT = 5;
    /// @dev By the notice's sender, as long as somebody is outstanding: after the deadline too, and when expelled
    /// since, for it only ends what the sender began.
    uint8 internal constant WITHDRAW = 6;
    /// @dev By an active member, before its deadline, which is at most 30 days ahead. Its recipients are those of a
    /// notice, or all ones on page 0 for everyone. At most 4096 bytes of payload.
    uint8 internal constant MESSAGE = 7;
}

/// @dev What a recipient may say about a notice.
library Outcome {
    uint8 internal constant VERIFIED = 1;
    uint8 internal constant CORRUPT = 2;
    uint8 internal constant TOO_LARGE = 3;
    uint8 internal constant REFUSED = 4;
}

/// @dev Why a statement was skipped. A simulated relay returns them, a mined one emits them in Skipped.
library Reason {
    uint8 internal constant OK = 0;
    /// @dev This very statement is on the chain already, which is found out before its signature is looked at. Exact,
    /// but for a VERIFIED receipt whose author has been admitted again more than 16 times since.
    uint8 internal constant DUPLICATE = 1;
    /// @dev The block's timestamp is past the deadline.
    uint8 internal constant EXPIRED = 2;
    uint8 internal constant BAD_SIGNATURE = 3;
    /// @dev The author was never a member of the task.
    uint8 internal constant UNKNOWN_MEMBER = 4;
    /// @dev The author was a member once.
    uint8 internal constant EXPELLED = 5;
    uint8 internal constant UNKNOWN_TASK = 6;
    /// @dev There is no such notice in this task on the author's page.
    uint8 internal constant UNKNOWN_NOTICE = 7;
    uint8 internal constant STALE_ROSTER = 8;
    uint8 internal constant FUTURE_ROSTER = 9;
    /// @dev Answered otherwise, withdrawn, or never a recipient.
    uint8 internal constant NOT_OUTSTANDING = 10;
    /// @dev Another Open has taken this owner and salt.
    uint8 internal constant TASK_EXISTS = 11;
    /// @dev No recipient, or bits above the page's 104.
    uint8 internal constant BAD_RECIPIENTS = 12;
    /// @dev A bit for an index that nobody has yet.
    uint8 internal constant UNKNOWN_RECIPIENT = 13;
    /// @dev More than 30 days ahead.
    uint8 internal constant BAD_DEADLINE = 14;
    uint8 internal constant BAD_OUTCOME = 15;
    /// @dev None, more than 256, or the zero address among them.
    uint8 internal constant BAD_MEMBERS = 16;
    uint8 internal constant BAD_KIND = 17;
    /// @dev A message's payload is over 4096 bytes.
    uint8 internal constant TOO_LARGE = 18;
    /// @dev `data` is not the canonical ABI encoding of the kind's fields.
    uint8 internal constant MALFORMED = 19;
}

/// @title Waybill: signed statements about large payloads that travel elsewhere
/// @notice Anybody may relay anything: every statement carries its author's EIP-712 signature, `msg.sender` means
/// nothing, and nothing can be changed or paused.
///
/// A task's events form one line: `seq` is 1 in its first event and rises by exactly 1, `prevBlock` is the block of
/// the event before (0 for the first). Only an applied statement moves them. Events carry the signatures, so that a
/// reader who got them from somebody else can check their authors.
///
/// A statement's id is keccak256(abi.encode(EIP-712 struct hash, author)); the author of a notice, withdrawal or
/// message is its sender, of an opening or roster change the task's owner. A notice's id is its statement id.
interface IWaybill {
    /// @notice A wallet's signature cannot be judged with the gas left. The relay reverts as a whole, because a skip
    /// would blame the wallet for the relayer's thrift.
    error NotEnoughGas();

    /// @notice A task began. Its members have the indices from 0, in this order; repeats get none.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param owner Who signs the roster's changes; the task's id is keccak256(abi.encode(owner, salt)).
    /// @param salt As signed.
    /// @param members As signed.
    /// @param signature The owner's.
    event Opened(
        bytes32 indexed task,
        uint64 seq,
        uint64 prevBlock,
        address owner,
        bytes32 salt,
        address[] members,
        bytes signature
    );

    /// @notice Accounts got indices, in order.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param roster The version that the statement changed; it is one more now.
    /// @param members As signed: those that were active already, and repeats, got no index.
    /// @param signature The owner's.
    event Admitted(
        bytes32 indexed task, uint64 seq, uint64 prevBlock, uint32 roster, address[] members, bytes signature
    );

    /// @notice Accounts' statements don't count any more.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param roster The version that the statement changed; it is one more now.
    /// @param members As signed: those that were not active have stayed so.
    /// @param signature The owner's.
    event Expelled(
        bytes32 indexed task, uint64 seq, uint64 prevBlock, uint32 roster, address[] members, bytes signature
    );

    /// @notice A payload is there for some members. The notice's id is its statement id.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param sender Whose notice it is.
    /// @param page Which 104 indices `recipients` speaks of.
    /// @param recipients Bit i is index `page * 104 + i`.
    /// @param transfer The payload's id.
    /// @param manifest SHA-256 of the payload's manifest.
    /// @param deadline The last second in which receipts count.
    /// @param signature The sender's.
    event Noticed(
        bytes32 indexed task,
        uint64 seq,
        uint64 prevBlock,
        address sender,
        uint16 page,
        uint256 recipients,
        bytes32 transfer,
        bytes32 manifest,
        uint48 deadline,
        bytes signature
    );

    /// @notice Members answered notices with their keys. One event tells of all receipts of a task that a relay brought
    /// in Receipts items in a row, in the order in which they took effect.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param receipts One or more groups, nothing between or behind them. A group is the notice's id (32 bytes), the
    /// outcome that all in it state (1 byte: one of Outcome), the number n of its signatures (1 byte, 1 to 104), and the
    /// n signatures (65 bytes each: r, s, v). The author of each is who ecrecover finds by the EIP-712 digest of
    /// Receipt(task, notice, outcome). Only signatures that counted are here, and a notice may have several groups.
    event Receipts(bytes32 indexed task, uint64 seq, uint64 prevBlock, bytes receipts);

    /// @notice A contract account answered a notice.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param notice The notice's id.
    /// @param outcome What it says: one of Outcome.
    /// @param account Whose answer it is.
    /// @param signature What the account took for its own (ERC-1271).
    event WalletReceipt(
        bytes32 indexed task,
        uint64 seq,
        uint64 prevBlock,
        bytes32 notice,
        uint8 outcome,
        address account,
        bytes signature
    );

    /// @notice A notice was taken back from all who had not answered.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param notice The notice's id.
    /// @param signature The sender's.
    event Withdrawn(bytes32 indexed task, uint64 seq, uint64 prevBlock, bytes32 notice, bytes signature);

    /// @notice A member said something else.
    /// @param task The task's id.
    /// @param seq The event's place in the task's line.
    /// @param prevBlock The block of the event before, 0 for the first.
    /// @param sender Whose message it is.
    /// @param page Which 104 indices `recipients` speaks of.
    /// @param recipients Bit i is index `page * 104 + i`; all ones, on page 0, is everyone.
    /// @param kind What it is about; means nothing here.
    /// @param payload Means nothing here.
    /// @param salt Makes equal messages two.
    /// @param deadline Until when it could be relayed.
    /// @param signature The sender's.
    event Posted(
        bytes32 indexed task,
        uint64 seq,
        uint64 prevBlock,
        address sender,
        uint16 page,
        uint256 recipients,
        bytes32 kind,
        bytes payload,
        bytes32 salt,
        uint48 deadline,
        bytes signature
    );

    /// @notice A statement had no effect. Belongs to no task.
    /// @param id The statement's id; zero when it could not be read, or its author is unknown because its signature
    /// (of receipts) or its task (of roster changes) is.
    /// @param reason Why: one of Reason.
    event Skipped(bytes32 indexed id, uint8 reason);

    /// @notice Applies the items in order. A statement that may not take effect is skipped and never affects another.
    /// @dev Reverts only if the items themselves are no ABI encoding, or with NotEnoughGas.
    /// @param items What to apply, of any kinds and tasks.
    /// @return results For every item its reason code, 0 when applied; for RECEIPTS one code per signature (a single
    /// MALFORMED or BAD_SIGNATURE if `data` can't be read, or the signatures aren't a positive multiple of 65 bytes).
    function relay(Item[] calldata items) external returns (uint8[][] memory results);

    /// @notice An account in a task. Its index is the newest that it got.
    /// @param task The task's id.
    /// @param account Whose place is asked for.
    /// @return index Its place; `index / 104` is its page and `index % 104` its bit there.
    /// @return active Whether its statements count now.
    /// @return known Whether it was ever enrolled; otherwise the index says nothing.
    function member(bytes32 task, address account) external view returns (uint32 index, bool active, bool known);

    /// @notice The members by index, as many of `count` as there are, and whether each is active under that index
    /// (an account that was admitted again is not, under its earlier ones).
    /// @param task The task's id.
    /// @param from The first index.
    /// @param count How many at most.
    /// @return list The places from `from` on; empty behind the last one.
    function members(bytes32 task, uint256 from, uint256 count)
        external
        view
        returns (Member[] memory list);

    /// @notice The task's owner, roster version (1 after the Open, 0 for a task that doesn't exist), and the number
    /// of indices given so far.
    /// @param task The task's id.
    /// @return owner Who signs the roster's changes; zero for a task that doesn't exist.
    /// @return version What the next change must name.
    /// @return count The next account's index.
    function roster(bytes32 task) external view returns (address owner, uint32 version, uint32 count);

    /// @notice The `seq` and block of the task's newest event.
    /// @param task The task's id.
    /// @return seq How many events the task has had; 0 for a task that doesn't exist.
    /// @return blockNumber The newest one's block.
    function latest(bytes32 task) external view returns (uint64 seq, uint64 blockNumber);

    /// @notice A notice's state; bit i speaks of index `page * 104 + i`. Its deadline is 0 when it doesn't exist.
    /// @param task The task's id.
    /// @param page The notice's page.
    /// @param notice The notice's id.
    /// @return deadline The last second in which receipts count.
    /// @return outstanding Who may still answer.
    /// @return verified Who has answered VERIFIED. A recipient in neither has answered otherwise, or the notice is
    /// withdrawn.
    /// @return withdrawn Whether its sender has taken it back.
    function state(bytes32 task, uint16 page, bytes32 notice)
        external
        view
        returns (uint48 deadline, uint104 outstanding, uint104 verified, bool withdrawn);
}
