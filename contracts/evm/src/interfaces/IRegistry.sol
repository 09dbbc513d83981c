// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Exit, Migration, Return, Rotation} from "../Messages.sol";
import {Conduct, Fault, NodeView, SlashView, UnbondingView} from "../Types.sol";

/// Who takes part: nodes admitted by the council, their signing keys, groups, stakes and slashes.
///
/// A node is the account it was admitted with, which never changes: its owner account. That account signs what moves its
/// money or its key (Exit, Migration, Rotation); the signing key signs its work. Every message may be relayed by anyone,
/// or sent by the account itself with an empty signature. EIP-712: domain `Collegium`, version `1`, this contract.
interface IRegistry {
    /// Also when a dismissed node is admitted again, with its stake and absences as they are.
    event NodeAdmitted(address indexed node, address indexed signer, uint64 group);
    /// The council has dismissed a node.
    event NodeLeft(address indexed node);
    /// A node says that it is back: its absences count from 0 again.
    event NodeReturned(address indexed node);
    /// A node has another signing key from now on, in open rounds too.
    event SignerRotated(address indexed node, address indexed signer);
    /// `stake` is what the node then has.
    event StakeDeposited(address indexed node, uint256 amount, uint256 stake);
    /// `amount` is on its way out and can be withdrawn from `maturesAt` on; `stake` is what the node has left.
    event ExitRequested(address indexed node, uint256 amount, uint64 maturesAt, uint256 stake);
    /// What had matured was paid to the node's own account.
    event Withdrawn(address indexed node, uint256 amount);
    /// 0 when the council names none any more.
    event SuccessorNamed(address indexed successor);
    /// What had matured is stake in the successor now.
    event Migrated(address indexed node, address indexed successor, uint256 amount);
    /// `amount` was set aside; `stake` is what the node has left.
    event FaultRecorded(
        uint64 indexed task,
        uint32 indexed round,
        address indexed node,
        Fault fault,
        uint256 slash,
        uint256 amount,
        uint64 executableAt,
        uint256 stake
    );
    /// The amount is part of the stake again.
    event SlashWaived(uint256 indexed slash, address indexed node, uint256 stake);
    /// The amount went to the task's pool.
    event SlashExecuted(uint256 indexed slash, address indexed node, uint64 indexed task, uint256 amount);

    /// Admits `node`; council only. `node` is its identity for ever, `signer` signs its messages, `group` (not 0) is
    /// shared by sister networks.
    function admit(address node, address signer, uint64 group) external;
    /// Keeps a node out of all rounds requested from now on; council only. It keeps its stake and may take it out.
    function dismiss(address node) external;
    /// Names the registry to which nodes may move their stakes, or none; council only.
    function nameSuccessor(address successor_) external;
    /// Gives a pending slash back to the stake; council only, within the appeal window.
    function waive(uint256 slash) external;

    /// Adds to a node's stake; anyone may pay for it (ERC-20 allowance needed). Refuses a token that keeps a part.
    function deposit(address node, uint256 amount) external;
    /// The same, with the payer's ERC-2612 permit.
    function depositWithPermit(address node, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;
    /// Takes an amount out of the stake: it counts no more in rounds requested from now on, may still be slashed, and
    /// can be withdrawn after `unbondingSeconds`. A fifth amount joins the latest entry, which then matures
    /// with it.
    function exit(Exit calldata message, bytes calldata signature) external;
    /// Pays what has matured to the node's account; anyone may trigger it. Waits for the node's open rounds, which
    /// anyone can bring to an end, and for pending slashes.
    function withdraw(address node) external returns (uint256 amount);
    /// Moves what has matured to the stake in the successor that the council has named and the node agrees to.
    function migrate(Migration calldata message, bytes calldata signature) external returns (uint256 amount);

    /// Replaces the signing key.
    function rotate(Rotation calldata message, bytes calldata signature) external;
    /// Makes a node eligible again that was absent too many times running.
    function comeBack(Return calldata message, bytes calldata signature) external;

    /// Notes that these nodes (each once) have a seat in a round, and tells their groups; the rounds contract only.
    function openRoles(address[] calldata nodes_) external returns (uint64[] memory groups);
    /// Frees the seats of a closed round, counts absences and records faults; the rounds contract only.
    function closeRoles(uint64 task, uint32 round, Conduct[] calldata conducts) external;
    /// Pays a slash whose appeal window is over to the task's pool; anyone.
    function execute(uint256 slash) external;

    /// A node as it is now; all empty for an account that was never admitted.
    function nodeOf(address node) external view returns (NodeView memory);
    /// 0 for an account that was never admitted.
    function signerOf(address node) external view returns (address);
    /// The stake that counts when a round is requested.
    function eligibleStakeOf(address node) external view returns (uint256);
    /// All nodes ever admitted, in the order of their first admission.
    function nodes() external view returns (address[] memory);
    /// What is on its way out of a node's stake, the first to mature first.
    function unbondingOf(address node) external view returns (UnbondingView[] memory);
    /// Slashes are numbered from 0.
    function slashOf(uint256 slash) external view returns (SlashView memory);
    /// How many slashes there ever were; they are numbered from 0.
    function slashCount() external view returns (uint256);
    /// The ERC-20 that stakes are in. It must move exactly the amounts it is asked to, and its supply must stay below
    /// 2^96 units.
    function token() external view returns (address);
    /// The only contract that may hand out seats and record faults.
    function rounds() external view returns (address);
    /// How long an amount that leaves may still be slashed.
    function unbondingSeconds() external view returns (uint32);
    /// How long the council may waive a slash.
    function appealSeconds() external view returns (uint32);
    /// So many absences in a row keep a node out of draws until it says that it is back.
    function mostAbsences() external view returns (uint8);
    /// The registry to which nodes may move their stakes; 0 while none is named.
    function successor() external view returns (address);
    /// The sum of stakes, unbonding amounts and pending slashes: what this contract owes.
    function totalOwed() external view returns (uint256);
}
